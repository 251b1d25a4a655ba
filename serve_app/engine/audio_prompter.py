"""Audio prompt -> the codes that the track begins with, in a thread of its own."""

import math

import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.worker_thread import OnFailure, WorkerThread
from serve_app.errors import InvalidAudio
from serve_app.types import Audio

# Bound of the reduced rates' product: the resampling kernel has so many values, times a few. 11.025
# to 32 kHz needs 0.6 million; coprime rates of two near 48 kHz would need 2,300 million.
_MAX_KERNEL = 4_000_000


class AudioPrompter:
    """Encodes one audio prompt at a time: 30 s of audio take 0.8 GiB at the peak.

    on_failure: see WorkerThread.
    """

    def __init__(self, checkpoint: Checkpoint, on_failure: OnFailure) -> None:
        self._checkpoint = checkpoint
        device = checkpoint.codec.codebooks.device
        self._thread = WorkerThread("musicgen-audio-prompt", device, on_failure)

    async def encode(self, prompt: Audio) -> Tensor:
        """Encode in the prompter's thread; see `encode_audio_prompt`."""
        return await self._thread.run(encode_audio_prompt, self._checkpoint, prompt)

    def shutdown(self) -> None:
        self._thread.shutdown()


def check_sample_rate(rate: int, model_rate: int, audio: str = "audio prompt") -> None:
    """Raise InvalidAudio for a rate in Hz that only a huge kernel resamples to the model's.

    audio: its name in the message.
    """
    divisor = math.gcd(rate, model_rate)
    if (rate // divisor) * (model_rate // divisor) > _MAX_KERNEL:
        raise InvalidAudio(
            f"The {audio}'s sample rate of {rate} Hz cannot be resampled to this model's "
            f"{model_rate} Hz: send audio at {model_rate} Hz"
        )


@torch.inference_mode()
def encode_audio_prompt(checkpoint: Checkpoint, prompt: Audio) -> Tensor:
    """Return the prompt's codes [K, frames] at the model's sample rate and channels, on the CPU.

    On a GPU their copy waits for the calling thread's stream, so that any thread may read them.
    """
    import torchaudio  # imported here: it takes a second, and few requests bring audio

    num_codebooks = checkpoint.musicgen.config.num_codebooks
    channels = checkpoint.audio_channels
    audio = torch.from_numpy(prompt.samples).to(checkpoint.codec.codebooks)
    audio = torchaudio.functional.resample(audio, prompt.sample_rate, checkpoint.sample_rate)
    audio = audio.mean(dim=0, keepdim=True) if channels == 1 else audio.expand(channels, -1)
    if not checkpoint.stereo_codebooks:
        return checkpoint.codec.encode(audio[None], num_codebooks)[0].cpu()
    left_and_right = checkpoint.codec.encode(audio[:, None], num_codebooks // 2)
    return left_and_right.transpose(0, 1).flatten(0, 1).cpu()
