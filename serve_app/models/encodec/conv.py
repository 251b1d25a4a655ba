"""SEANet's convolutions: EnCodec's padding, strides and trimming, with faster CPU paths."""

import math
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.onednn import as_image

if TYPE_CHECKING:  # numba: small models need none
    from serve_app.models.encodec.cpu_convolutions import CpuConvolution, CpuUpsampling

_MANY_FILTERS = 64  # of a codec's audio; from here on the CPU kernels are faster than oneDNN


class Conv1d(nn.Conv1d):
    """Convolution that pads its input so that `n` samples give `ceil(n / stride)`."""

    def __init__(
        self,
        config: EncodecConfig,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        **kwargs: int,
    ):
        super().__init__(channels_in, channels_out, kernel_size, **kwargs)  # type: ignore[arg-type]
        self.pad_mode = config.pad_mode
        self.span = (kernel_size - 1) * self.dilation[0] + 1
        total = self.span - self.stride[0]
        self.pad_right = 0 if config.causal else total // 2
        self.pad_left = total - self.pad_right
        self._many_filters = config.num_filters >= _MANY_FILTERS
        self._kernel: CpuConvolution | None = None  # made on first use

    def forward(self, x: Tensor, activate: bool = False) -> Tensor:
        """x [B, channels_in, n] -> [B, channels_out, ceil(n / stride)]

        activate: apply ELU to x first.
        """
        if x.device.type == "cpu" and (kernel := self.kernel) is not None:
            length = -(-x.shape[-1] // self.stride[0])
            mirrored = self.mirrored(x.shape[-1])
            return kernel(x, self.stride[0], self.pad_left, length, mirrored, activate)
        if activate:
            x = elu(x)
        extra = -x.shape[-1] % self.stride[0]
        x = self._pad(x, self.pad_left, self.pad_right + extra)
        if x.device.type != "cpu":
            return super().forward(x)
        if self.out_channels <= 2 and self.stride == self.dilation == (1,):
            return self._by_tap(x)
        weight = self.weight.unsqueeze(2)
        stride = (1, *self.stride)
        return F.conv2d(as_image(x), weight, self.bias, stride, 0, (1, *self.dilation)).squeeze(2)

    @property
    def kernel(self) -> "CpuConvolution | None":
        """The layer on the CPU kernels, None if they lack its shape or the codec is small."""
        if not self._many_filters or self.pad_mode not in ("reflect", "constant"):
            return None
        from serve_app.models.encodec.cpu_convolutions import CpuConvolution, is_supported

        if self._kernel is None and is_supported(self):
            self._kernel = CpuConvolution(self.weight, cast(Tensor, self.bias))
        return self._kernel

    def mirrored(self, n: int) -> int:
        """Return how many of n frames, extended by zeros, padding mirrors; 0 if it is zeros."""
        if self.pad_mode != "reflect":
            return 0
        extra = -n % self.stride[0]
        return max(n, max(self.pad_left, self.pad_right + extra) + 1)

    def _by_tap(self, x: Tensor) -> Tensor:
        """Add shifted slices of one matrix product over all taps: faster for so few outputs."""
        taps = self.kernel_size[0]
        n = x.shape[-1] - taps + 1
        weight = self.weight.transpose(1, 2).flatten(0, 1).contiguous()
        by_tap = (weight @ x).view(len(x), self.out_channels, taps, -1)
        y = by_tap[:, :, 0, :n] + cast(Tensor, self.bias)[:, None]
        for tap in range(1, taps):
            y += by_tap[:, :, tap, tap : tap + n]
        return y

    def _pad(self, x: Tensor, left: int, right: int) -> Tensor:
        if self.pad_mode != "reflect":
            return F.pad(x, (left, right), self.pad_mode)
        missing = max(0, max(left, right) - x.shape[-1] + 1)
        if not missing:
            return _reflect(x, left, right)
        # Reflection needs more samples than it adds: extend by zeros first, then remove as many.
        padded = F.pad(F.pad(x, (0, missing)), (left, right), "reflect")
        return padded[..., : padded.shape[-1] - missing]

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """First and last input position that outputs `first` to `last` depend on."""
        stride = self.stride[0]
        return first * stride - self.pad_left, last * stride + self.span - 1 - self.pad_left


def elu(x: Tensor) -> Tensor:
    """F.elu in two thirds of its time on a CPU."""
    return torch.maximum(x, x.clamp(max=0).exp_().sub_(1))


def _reflect(x: Tensor, left: int, right: int) -> Tensor:
    """F.pad(x, (left, right), "reflect") in a third of its time.

    x [B, C, n], n > left and n > right.
    """
    n = x.shape[-1]
    padded = x.new_empty(len(x), left + n + right, x.shape[1]).transpose(1, 2)
    padded[..., left : left + n] = x
    padded[..., :left] = x[..., 1 : left + 1].flip(-1)
    padded[..., left + n :] = x[..., n - right - 1 : n - 1].flip(-1)
    return padded


class ConvTranspose1d(nn.ConvTranspose1d):
    """Upsampling by `stride`.

    The kernel's overhang is trimmed from both ends; when causal, from the right.
    """

    def __init__(self, config: EncodecConfig, channels_in: int, channels_out: int, ratio: int):
        super().__init__(channels_in, channels_out, kernel_size=2 * ratio, stride=ratio)
        causal_trim = math.ceil(ratio * config.trim_right_ratio)
        self.trim_right = causal_trim if config.causal else ratio // 2
        self.trim_left = ratio - self.trim_right
        self._many_filters = config.num_filters >= _MANY_FILTERS
        self._kernel: CpuUpsampling | None = None  # made on first use

    def forward(  # type: ignore[override]
        self, x: Tensor, activate: bool = False
    ) -> Tensor:
        """x [B, channels_in, n] -> [B, channels_out, n * stride]

        activate: apply ELU to x first.
        """
        if x.device.type == "cpu" and (kernel := self.kernel) is not None:
            y = kernel(x, activate)
        elif x.device.type != "cpu":
            y = super().forward(elu(x) if activate else x)
        else:
            x = elu(x) if activate else x
            weight = self.weight.unsqueeze(2)
            y = F.conv_transpose2d(as_image(x), weight, self.bias, (1, *self.stride)).squeeze(2)
        return y[..., self.trim_left :][..., : x.shape[-1] * self.stride[0]]

    @property
    def kernel(self) -> "CpuUpsampling | None":
        """The layer on the CPU kernels, None if they lack its shape or the codec is small."""
        if not self._many_filters:
            return None
        from serve_app.models.encodec.cpu_convolutions import CpuUpsampling, is_supported

        if self._kernel is None and is_supported(self):
            self._kernel = CpuUpsampling(self.weight, cast(Tensor, self.bias), self.stride[0])
        return self._kernel

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """First and last input position that outputs `first` to `last` depend on."""
        stride = self.stride[0]
        earliest = first + self.trim_left - self.kernel_size[0] + 1
        return math.ceil(earliest / stride), (last + self.trim_left) // stride
