"""Audio prompt -> the codes that the track begins with."""

import math

import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.errors import InvalidAudio
from serve_app.types import Audio

# Bound of the reduced rates' product: the resampling kernel has so many values, times a few. 11.025
# to 32 kHz needs 0.6 million; coprime rates of two near 48 kHz would need 2,300 million.
_MAX_KERNEL = 4_000_000


def check_sample_rate(rate: int, model_rate: int) -> None:
    """Raise InvalidAudio for a rate in Hz that only a huge kernel resamples to the model's."""
    divisor = math.gcd(rate, model_rate)
    if (rate // divisor) * (model_rate // divisor) > _MAX_KERNEL:
        raise InvalidAudio(
            f"The audio prompt's sample rate of {rate} Hz cannot be resampled to this model's "
            f"{model_rate} Hz: send audio at {model_rate} Hz"
        )


@torch.inference_mode()
def encode_audio_prompt(checkpoint: Checkpoint, prompt: Audio) -> Tensor:
    """Return the prompt's codes [K, frames], at the model's sample rate and channels."""
    import torchaudio  # imported here: it takes a second, and few requests bring audio

    num_codebooks = checkpoint.musicgen.config.num_codebooks
    channels = checkpoint.audio_channels
    audio = torch.from_numpy(prompt.samples).to(checkpoint.codec.codebooks)
    audio = torchaudio.functional.resample(audio, prompt.sample_rate, checkpoint.sample_rate)
    audio = audio.mean(dim=0, keepdim=True) if channels == 1 else audio.expand(channels, -1)
    if not checkpoint.stereo_codebooks:
        return checkpoint.codec.encode(audio[None], num_codebooks)[0]
    left_and_right = checkpoint.codec.encode(audio[:, None], num_codebooks // 2)
    return left_and_right.transpose(0, 1).flatten(0, 1)
