"""Chroma of a melody: the pitch class with the most energy in each frame.

Equals AudioCraft's `ChromaExtractor` with `argmax`, and transformers'
`MusicgenMelodyFeatureExtractor`, which are the input of MusicGen's melody models
(arXiv:2306.05284, section 2.3).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_A440_HZ = 440.0
_CENTRE_OCTAVE = 5.0  # of the weighting of frequencies, and its width in octaves
_WIDTH_OCTAVES = 2.0
_SMALLEST_MAXIMUM = 1e-6  # of a frame's bins, by which they are divided


@dataclass(frozen=True)
class MelodyConfig:
    """Melody conditioning of a model.

    chroma_length: frames of chroma in front of the codes; sample_rate: of the melody, in Hz;
    fft_size: samples of a frame, whose hop is a quarter of it; projected: False if the model takes
    chroma without a projection, being as wide.
    """

    num_chroma: int = 12
    chroma_length: int = 235
    sample_rate: int = 32_000
    fft_size: int = 2**14
    projected: bool = True

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.fft_size // 4


PUBLISHED = MelodyConfig()


@torch.inference_mode()
def chroma(samples: Tensor, config: MelodyConfig = PUBLISHED) -> Tensor:
    """Return the pitch class of each frame: samples [n], mono -> [frames] in 0 ... num_chroma - 1.

    samples: fp32, at the configuration's sample rate. Fewer than `fft_size` are padded with silence
    on both sides. Silence is class 0; of equal classes the lowest one counts.
    """
    # Imported here: it takes a second, and few requests bring a melody.
    from torchaudio.functional import spectrogram

    size = config.fft_size
    missing = max(0, size - len(samples))
    padded = F.pad(samples, (missing // 2, missing - missing // 2))
    window = torch.hann_window(size, device=samples.device)
    power = spectrogram(padded[None], 0, window, size, config.hop, size, 2.0, normalized=True)
    bank = filter_bank(config).to(samples.device)
    energy = torch.einsum("cf,...ft->...ct", bank, power)
    relative = F.normalize(energy, p=math.inf, dim=-2, eps=_SMALLEST_MAXIMUM)
    return relative[0].argmax(dim=0)


def fit(frames: Tensor, length: int = PUBLISHED.chroma_length) -> Tensor:
    """Cut frames, or repeat them from their beginning: [n], n > 0 -> [length]."""
    return frames.repeat(math.ceil(length / len(frames)))[:length]


@cache
def filter_bank(config: MelodyConfig) -> Tensor:
    """Return the energy share of each FFT bin in each pitch class: [num_chroma, fft_size // 2 + 1].

    A Gaussian around each pitch class, weighted by the octave; class 0 is C. Equals
    `librosa.filters.chroma(tuning=0)`.
    """
    classes = config.num_chroma
    frequencies = np.linspace(0, config.sample_rate, config.fft_size, endpoint=False)[1:]
    pitches = classes * np.log2(frequencies / (_A440_HZ / 16))
    # The bin of 0 Hz is put 1.5 octaves below the first, so that no class prefers it.
    pitches = np.concatenate([[pitches[0] - 1.5 * classes], pitches])
    widths = np.concatenate([np.maximum(np.diff(pitches), 1.0), [1.0]])
    half = np.round(classes / 2)
    distances = np.subtract.outer(pitches, np.arange(classes, dtype=np.float64)).T
    distances = np.remainder(distances + half + 10 * classes, classes) - half
    bumps = np.exp(-0.5 * (2 * distances / widths) ** 2)
    bumps = bumps / np.sum(bumps**2, axis=0, keepdims=True) ** 0.5
    octaves = (pitches / classes - _CENTRE_OCTAVE) / _WIDTH_OCTAVES
    weighted = np.roll(bumps * np.exp(-0.5 * octaves**2), -3 * (classes // 12), axis=0)
    return torch.from_numpy(weighted[:, : config.fft_size // 2 + 1].copy()).float()
