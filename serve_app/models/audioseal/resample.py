"""Resampling by a rational factor, as a layer of a stream."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ZERO_CROSSINGS = 16  # of the sinc on each side
_ROLLOFF = 0.97  # cut-off, as a part of the lower rate's half


class Resample(nn.Module):
    """Band-limited interpolation (Smith, "Digital Audio Resampling") by a sinc with a Hann window.

    It makes `scale` samples of `step`.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        super().__init__()
        common = math.gcd(rate_in, rate_out)
        self.step = rate_in // common
        self.scale = rate_out // common
        cutoff = _ROLLOFF * min(self.step, self.scale)
        self.width = math.ceil(_ZERO_CROSSINGS * self.step / cutoff)
        inputs = torch.arange(-self.width, self.width + self.step, dtype=torch.float64) / self.step
        outputs = torch.arange(self.scale, dtype=torch.float64)[:, None] / self.scale
        time = (inputs - outputs) * cutoff
        window = (
            time.clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS) * (math.pi / 2 / _ZERO_CROSSINGS)
        ).cos()
        kernel = torch.sinc(time) * window.square() * (cutoff / self.step)
        self.register_buffer("kernel", kernel[:, None].float(), persistent=False)
        self.kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 1, n] -> [B, 1, ceil(n / step) * scale]; beyond its ends x is zero"""
        extra = -x.shape[-1] % self.step
        padded = F.pad(x, (self.width, self.width + extra))
        phases = F.conv1d(padded, self.kernel, stride=self.step)
        return phases.transpose(1, 2).reshape(len(x), 1, -1)

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """First and last input position that outputs `first` to `last` depend on."""
        earliest = first // self.scale * self.step - self.width
        return earliest, (last // self.scale + 1) * self.step - 1 + self.width
