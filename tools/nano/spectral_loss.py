"""Spectral loss of the codec's training, in which quiet high bands count as much as loud low ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.nano.synthesizer import SAMPLE_RATE

SIZES = (2048, 1024, 512, 256, 128)  # samples
FLOOR = 0.02  # of a crop's mean magnitude: quieter bands count less
LOG_WEIGHT = 0.3
BANDS = 32
BAND_SIZE = 1024
BAND_WEIGHT = 1.0
LOWEST_BAND_HZ = 60.0
CUTOFF_HZ = 2500.0  # samples are compared below it: above, phases are beyond so few codes
TAPS = 129  # of the low-pass
DECIMATION = 4
SAMPLES_WEIGHT = 3.0


class SpectralLoss(nn.Module):
    """Multi-resolution STFT distance, relative to the crop's mean magnitude at each frequency.

    Besides, the energies of logarithmic bands are compared, because L1 of magnitudes alone settles
    below the energy of noise, and samples below CUTOFF_HZ. Samples above are not: where phases are
    uncertain, silence would be the nearest.
    """

    bands: Tensor
    low_pass: Tensor

    def __init__(self) -> None:
        super().__init__()
        for size in SIZES:
            self.register_buffer(f"window{size}", torch.hann_window(size), persistent=False)
        self.register_buffer("bands", _bands(), persistent=False)
        self.register_buffer("low_pass", _low_pass(), persistent=False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """y, x: waveforms [B, 1, n]; x is the target"""
        total = torch.zeros((), device=x.device)
        for size in SIZES:
            estimate, target = self._magnitudes(torch.cat([y, x]), size).chunk(2)
            floor = FLOOR * target.mean((1, 2), keepdim=True).clamp(min=1e-3)
            scale = target.mean(2, keepdim=True) + floor
            total = total + ((estimate - target).abs() / scale).mean()
            logs = (estimate + floor).log() - (target + floor).log()
            total = total + LOG_WEIGHT * logs.abs().mean()
            if size == BAND_SIZE:
                total = total + BAND_WEIGHT * len(SIZES) * self._band_distance(estimate, target)
        return total / len(SIZES) + SAMPLES_WEIGHT * self._sample_distance(y, x)

    def balance(self, y: Tensor, x: Tensor) -> Tensor:
        """Distance of level and of the bands' energies over whole crops, in nats."""
        spectra = self._magnitudes(torch.cat([y, x]), BAND_SIZE).pow(2).mean(-1)
        estimate, target = (spectra @ self.bands.T).chunk(2)
        floor = 1e-4 * target.mean(1, keepdim=True).clamp(min=1e-5)
        bands = ((estimate + floor).log() - (target + floor).log()).abs().mean()
        levels = (estimate.sum(1) + floor[:, 0]).log() - (target.sum(1) + floor[:, 0]).log()
        return bands + levels.abs().mean()

    def _sample_distance(self, y: Tensor, x: Tensor) -> Tensor:
        """L1 of the low-passed samples, relative to that of each crop."""
        low = functional.conv1d(torch.cat([y - x, x]), self.low_pass, stride=DECIMATION)
        error, target = low.abs().mean((1, 2)).chunk(2)
        return (error / target.clamp(min=0.01)).mean()

    def _magnitudes(self, x: Tensor, size: int) -> Tensor:
        """Magnitudes [B, F, T]"""
        window: Tensor = self.get_buffer(f"window{size}")
        spectrum = torch.stft(x[:, 0], size, size // 4, window=window, return_complex=True)
        return (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()

    def _band_distance(self, estimate: Tensor, target: Tensor) -> Tensor:
        first = torch.einsum("bf,nft->nbt", self.bands, estimate**2)
        second = torch.einsum("bf,nft->nbt", self.bands, target**2)
        floor = 1e-4 * second.mean((1, 2), keepdim=True).clamp(min=1e-5)
        return ((first + floor).log() - (second + floor).log()).abs().mean()


def _low_pass() -> Tensor:
    """Windowed sinc: [1, 1, TAPS]"""
    t = torch.arange(TAPS) - TAPS // 2
    kernel = torch.sinc(2 * CUTOFF_HZ / SAMPLE_RATE * t) * torch.hann_window(TAPS, periodic=False)
    return (kernel / kernel.sum())[None, None]


def _bands() -> Tensor:
    """Membership of the frequencies of BAND_SIZE in logarithmic bands: [BANDS, F]"""
    hz = torch.arange(BAND_SIZE // 2 + 1) * SAMPLE_RATE / BAND_SIZE
    octaves = (hz.clamp(min=LOWEST_BAND_HZ) / LOWEST_BAND_HZ).log2()
    number = (octaves / octaves.max() * BANDS).long().clamp(max=BANDS - 1)
    return (torch.arange(BANDS)[:, None] == number).float()
