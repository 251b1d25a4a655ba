"""Stems of a melody: the parts of a mix without its drums and bass, by Demucs.

As AudioCraft's `ChromaStemConditioner` takes them (arXiv:2306.05284, section 2.3), but for the random
shifts in time, for which one melody would have another chroma each time. Demucs is imported here
alone, and only where it is configured.
"""

from typing import Any

import torch
from torch import Tensor

STEMS = ("vocals", "other")


class StemSeparator:
    """Separation of melodies.

    htdemucs: a `demucs.htdemucs.HTDemucs` with weights, on `device`.
    """

    def __init__(self, htdemucs: Any) -> None:
        self._htdemucs = htdemucs
        self._stems = [htdemucs.sources.index(stem) for stem in STEMS]
        self.device = next(htdemucs.parameters()).device

    @torch.inference_mode()
    def separate(self, samples: Tensor, sample_rate: int) -> Tensor:
        """Return vocals and other instruments, mixed: [channels, n] -> mono [n], at `sample_rate`.

        Demucs hears the mean of the channels, as in AudioCraft.
        """
        from demucs.apply import apply_model
        from demucs.audio import convert_audio

        demucs = self._htdemucs
        mono = samples.to(self.device, torch.float32).mean(dim=0)[None, None]
        mix = convert_audio(mono, sample_rate, demucs.samplerate, demucs.audio_channels)
        stems = apply_model(demucs, mix, shifts=0, device=self.device)[:, self._stems]
        melody = convert_audio(stems.sum(dim=1), demucs.samplerate, sample_rate, 1)[0, 0]
        return _of_length(melody, samples.shape[1])


def _of_length(samples: Tensor, length: int) -> Tensor:
    """Cut samples [n], or append silence: resampling there and back may add or lose one."""
    missing = max(0, length - len(samples))
    return torch.nn.functional.pad(samples[:length], (0, missing))
