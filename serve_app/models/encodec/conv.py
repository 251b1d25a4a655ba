"""SEANet's convolutions: EnCodec's padding, strides and trimming, with faster CPU paths."""

import math
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.onednn import as_image, as_operand

_MANY_WEIGHTS = 2**22  # from here on, oneDNN spends longer reordering weights than convolving


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

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels_in, n] -> [B, channels_out, ceil(n / stride)]"""
        extra = -x.shape[-1] % self.stride[0]
        x = self._pad(x, self.pad_left, self.pad_right + extra)
        if x.device.type != "cpu":
            return super().forward(x)
        if self.out_channels <= 2 and self.stride == self.dilation == (1,):
            return self._by_tap(x)
        weight = self.weight.unsqueeze(2)
        stride = (1, *self.stride)
        return F.conv2d(as_image(x), weight, self.bias, stride, 0, (1, *self.dilation)).squeeze(2)

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
        self._taps: Tensor | None = None  # the weights as oneDNN's operand, made on first use

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """x [B, channels_in, n] -> [B, channels_out, n * stride]"""
        if x.device.type != "cpu":
            y = super().forward(x, output_size)
        elif self.weight.numel() >= _MANY_WEIGHTS:
            y = self._by_tap(x)
        else:
            weight = self.weight.unsqueeze(2)
            y = F.conv_transpose2d(as_image(x), weight, self.bias, (1, *self.stride)).squeeze(2)
        return y[..., self.trim_left : y.shape[-1] - self.trim_right]

    def _by_tap(self, x: Tensor) -> Tensor:
        """Compute all taps by one matrix product, whose weights are reordered once.

        The kernel is two strides long: each output is the sum of two taps.
        """
        batch, _, n = x.shape
        ratio = self.stride[0]
        if self._taps is None:
            self._taps = as_operand(self.weight.permute(2, 1, 0).flatten(0, 1))
        frames = as_operand(x.transpose(1, 2).contiguous())
        by_tap = F.linear(frames, self._taps).to_dense()
        by_tap = by_tap.view(batch, n, 2, ratio, self.out_channels)
        y = cast(Tensor, self.bias).expand(batch, n + 1, ratio, -1).clone()
        y[:, :n] += by_tap[:, :, 0]
        y[:, 1:] += by_tap[:, :, 1]
        return y.flatten(1, 2).transpose(1, 2)

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """First and last input position that outputs `first` to `last` depend on."""
        stride = self.stride[0]
        earliest = first + self.trim_left - self.kernel_size[0] + 1
        return math.ceil(earliest / stride), (last + self.trim_left) // stride
