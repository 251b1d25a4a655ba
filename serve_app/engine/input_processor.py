"""Request -> sequence, after checks against the model's limits."""

import contextlib
import itertools
import logging
from collections.abc import Iterator
from time import perf_counter

import numpy as np
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.audio_prompter import AudioPrompter, check_sample_rate
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.frames import num_frames
from serve_app.engine.melody_encoder import MelodyEncoder
from serve_app.engine.sequence import Sequence, Sink
from serve_app.engine.window import Window, windows
from serve_app.engine.worker_thread import OnFailure, report_to_nobody
from serve_app.errors import (
    DecoderUnavailable,
    DurationTooLong,
    GenerationFailed,
    InvalidAudio,
    InvalidRequest,
    MelodyNotSupported,
    PromptTooLong,
    audio_prompt_too_long,
    stride_too_long,
)
from serve_app.models.stems import StemSeparator
from serve_app.types import ENCODEC, Audio, Decoder, GenerationRequest

logger = logging.getLogger(__name__)

EXTEND_STRIDE = 0.6  # of the window: AudioCraft's 18 of 30 seconds
AUDIO_STRIDE_S = 2.0  # of AudioCraft's AudioGen, in a window of 10 seconds


class InputProcessor:
    """Checks and encodes requests to one model, for tracks up to `max_duration_s` seconds.

    on_failure: see WorkerThread; decoders: of the codes, that the engine has;
    stems: see MelodyEncoder.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        conditioner: Conditioner,
        max_duration_s: float,
        on_failure: OnFailure = report_to_nobody,
        decoders: tuple[Decoder, ...] = (ENCODEC,),
        stems: StemSeparator | None = None,
    ) -> None:
        self.max_duration_s = max_duration_s
        self.window_s = min(max_duration_s, checkpoint.musicgen.config.max_duration_s)
        self._decoders = decoders
        self._checkpoint = checkpoint
        self._conditioner = conditioner
        self._audio_prompter = AudioPrompter(checkpoint, on_failure)
        self._melody_encoder: MelodyEncoder | None = None
        config = checkpoint.musicgen.config
        if config.melody is not None:
            self._melody_encoder = MelodyEncoder(
                config.melody, config.max_duration_s, checkpoint.frame_rate, on_failure, stems
            )
        self._ids = itertools.count()

    @property
    def window_frames(self) -> int:
        return self._frames(self.window_s)

    async def process(self, request: GenerationRequest, sink: Sink) -> Sequence:
        """Check a request and encode its prompts, in other threads than the caller's.

        Raises InvalidRequest for a request beyond the model's limits, MelodyNotSupported for a
        melody that the model does not take, GenerationFailed if a prompt cannot be encoded, and
        ReplicaFailed if the device failed.
        """
        sequence = self._sequence(request, sink)
        started_at = perf_counter()
        with _failing_request(f"prompt of {len(sequence.prompt_tokens)} tokens"):
            sequence.text = await self._conditioner.encode(sequence.prompt_tokens)
        sequence.text_encoder_s = perf_counter() - started_at
        if (audio_prompt := request.audio_prompt) is not None:
            with _failing_request(f"audio prompt of {audio_prompt.duration_s:g} s"):
                sequence.prefix_codes = await self._audio_prompter.encode(audio_prompt)
            sequence.windows = self._windows(request, sequence.prefix_codes.shape[1])
        if (melody := request.melody) is not None and self._melody_encoder is not None:
            with _failing_request(f"melody of {melody.duration_s:g} s"):
                sequence.chroma = await self._melody_encoder.encode(melody, sequence.windows)
        return sequence

    def process_here(self, request: GenerationRequest, sink: Sink) -> Sequence:
        """Process a request without audio; block until its text is encoded."""
        sequence = self._sequence(request, sink)
        sequence.text = self._conditioner.encode_blocking(sequence.prompt_tokens)
        return sequence

    def shutdown(self) -> None:
        self._audio_prompter.shutdown()
        if self._melody_encoder is not None:
            self._melody_encoder.shutdown()

    def _sequence(self, request: GenerationRequest, sink: Sink) -> Sequence:
        self._check(request)
        prompt_tokens = self._tokenize(request)
        config = self._checkpoint.musicgen.config
        return Sequence(
            sequence_id=next(self._ids),
            request=request,
            prompt_tokens=prompt_tokens,
            prefix_codes=torch.zeros(config.num_codebooks, 0, dtype=torch.int64),
            windows=self._windows(request, 0),
            delays=config.delays,
            sink=sink,
            prefix_positions=config.conditioning.prefix_length(len(prompt_tokens)),
        )

    def _tokenize(self, request: GenerationRequest) -> list[int]:
        """Tokens of the prompt, with the track's length for a model that ends a track of one window.

        A prompt that leaves no room for the length goes without it. Raises PromptTooLong.
        """
        length_prompt = self._checkpoint.musicgen.config.length_prompt
        if length_prompt and request.prompt and 1 <= request.duration_s <= self.window_s:
            length = length_prompt.replace("{seconds}", str(int(request.duration_s)))
            with contextlib.suppress(PromptTooLong):
                return self._conditioner.tokenize(request.prompt + length)
        return self._conditioner.tokenize(request.prompt)

    def _check(self, request: GenerationRequest) -> None:
        """Raise DurationTooLong, or InvalidRequest for what this model does not take."""
        self._check_decoder(request)
        wanted_s = request.duration_s
        window_s = self.window_s
        if wanted_s > self.max_duration_s:
            raise DurationTooLong.of(wanted_s, self.max_duration_s)
        if not request.prompt and request.audio_prompt is None and request.melody is None:
            raise InvalidRequest("Prompt is required and cannot be empty")
        if wanted_s > window_s and (request.extend_stride_s or 0.0) >= window_s:
            raise stride_too_long(window_s)
        if request.audio_prompt is not None:
            self._check_audio_prompt(request.audio_prompt, wanted_s)
        if request.melody is not None:
            self._check_melody(request.melody)

    def _check_decoder(self, request: GenerationRequest) -> None:
        """Raise DecoderUnavailable for a decoder that the replica lacks, or that makes no streams."""
        if request.decoder not in self._decoders:
            raise DecoderUnavailable(
                f"Decoder '{request.decoder}' is not available for this model. Use 'encodec'."
            )
        if request.streamed and request.decoder != ENCODEC:
            raise DecoderUnavailable.of_stream(request.decoder)

    def _check_audio_prompt(self, audio_prompt: Audio, wanted_s: float) -> None:
        """Raise InvalidRequest for an audio prompt that leaves nothing to make, or at an odd rate."""
        check_sample_rate(audio_prompt.sample_rate, self._checkpoint.sample_rate)
        if audio_prompt.duration_s >= min(wanted_s, self.window_s):
            raise audio_prompt_too_long(audio_prompt.duration_s, wanted_s, self.window_s)

    def _check_melody(self, melody: Audio) -> None:
        """Raise MelodyNotSupported, or InvalidAudio for a melody that has no chroma."""
        if (config := self._checkpoint.musicgen.config.melody) is None:
            raise MelodyNotSupported(
                "This model takes no melody: leave it out, or use a melody model."
            )
        check_sample_rate(melody.sample_rate, config.sample_rate, "melody")
        if not melody.samples.size:
            raise InvalidAudio("The melody has no samples: send a longer file.", field="melody")
        if not np.isfinite(melody.samples).all():
            raise InvalidAudio(
                "The melody has samples that are not finite numbers: send other audio.",
                field="melody",
            )

    def _windows(self, request: GenerationRequest, prefix_frames: int) -> list[Window]:
        frames = self._frames(request.duration_s)
        longest = self.window_frames
        stride = self._frames(request.extend_stride_s or self._stride_s())
        prefix_frames = min(prefix_frames, frames - 1, longest - 1)
        return windows(frames, longest, min(stride, longest - 1), prefix_frames)

    def _stride_s(self) -> float:
        """AudioCraft's stride of a window for this model, of a request that asks for none."""
        is_music = self._checkpoint.musicgen.config.content == "music"
        return EXTEND_STRIDE * self.window_s if is_music else AUDIO_STRIDE_S

    def _frames(self, seconds: float) -> int:
        return num_frames(seconds, self._checkpoint.frame_rate)


@contextlib.contextmanager
def _failing_request(prompt: str) -> Iterator[None]:
    """Turn an encoder's error into the GenerationFailed of this request alone."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        logger.exception("The %s could not be encoded", prompt)
        raise GenerationFailed(
            f"the {prompt} could not be encoded ({type(error).__name__})"
        ) from error
