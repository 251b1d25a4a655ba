"""Parts of uploads: the audio that a job's tracks begin with, and the melody that they follow."""

from dataclasses import replace

from serve_app.errors import InvalidAudio
from serve_app.gateway.service import GenerationService
from serve_app.jobs.job import JobRequest
from serve_app.model_status import ModelCard
from serve_app.types import Audio


def cut(audio: Audio, start_s: float, end_s: float | None, name: str = "audio prompt") -> Audio:
    """Take a part of an upload. end_s: None: its end. Raises InvalidAudio for an empty one."""
    start = round(start_s * audio.sample_rate)
    end = None if end_s is None else round(end_s * audio.sample_rate)
    samples = audio.samples[:, start:end]
    if not samples.size:
        raise InvalidAudio(
            f"The {name} has {audio.duration_s:.2f} s, and its part from {start_s:g} s to "
            f"{'its end' if end_s is None else f'{end_s:g} s'} is empty: name another part"
        )
    return replace(audio, samples=samples)


async def read_melody(
    service: GenerationService, content: bytes, request: JobRequest, card: ModelCard
) -> Audio:
    """Decode the part of a melody that the request names. Raises InvalidAudio."""
    start_s = request.melody_start_s
    audio = await service.audio_prompts.read_melody(content, card, request.duration_s, start_s)
    return cut(audio, start_s, request.melody_end_s, "melody")
