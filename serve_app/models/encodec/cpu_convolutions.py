"""SEANet's convolutions on the CPU kernels, for tensors [B, C, n] in memory frame by frame."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serve_app.kernels.cpu.compilation import limit_threads
from serve_app.kernels.cpu.convolution import (
    convolve,
    convolve_to_few,
    upsample,
)
from serve_app.kernels.cpu.float_tile import PANEL, pack_panels
from serve_app.kernels.cpu.residual import (
    residual_block,
    residual_block_of_three,
    transform_taps,
)

Floats = NDArray[np.float32]
FEW_OUTPUTS = 2  # up to which the outputs are dot products, not columns of a matrix product
_MANY_CHANNELS = 128  # from here on fewer products are worth the sums of their inputs


class CpuConvolution:
    """Convolution with its weights in the kernels' layout.

    weight [N, C, kernel], bias [N]; N at most FEW_OUTPUTS or a multiple of PANEL.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.kernel = weight.shape[2]
        self.outputs = len(weight)
        rows = weight.detach().transpose(1, 2).flatten(1).contiguous().numpy()
        self.bias: Floats = bias.detach().numpy()
        self.weight: Floats = rows if self.outputs <= FEW_OUTPUTS else pack_panels(rows)
        self._taps: Floats = weight.detach().numpy()
        self._transformed: Floats | None = None

    @property
    def transformed(self) -> Floats:
        """The weights of `residual_block_of_three`, made on first use."""
        if self._transformed is None:
            parts = [pack_panels(part) for part in transform_taps(self._taps)]
            self._transformed = np.concatenate(parts)
        return self._transformed

    def __call__(
        self, x: Tensor, stride: int, before: int, length: int, mirrored: int, activate: bool
    ) -> Tensor:
        """x [B, C, n] -> [B, N, length]

        Output i reads the inputs from i * stride - before on. mirrored: see
        `kernels.cpu.convolution`; activate: apply ELU to x first.
        """
        if self.outputs > FEW_OUTPUTS:
            return _by_frame(
                x, self.outputs, length,
                lambda frames, out: convolve(
                    frames, self.kernel, stride, before, mirrored, activate, self.weight,
                    self.bias, out,
                ),
            )  # fmt: skip
        return _by_frame(
            x, self.outputs, length,
            lambda frames, out: convolve_to_few(
                frames, self.kernel, before, mirrored, activate, self.weight, self.bias, out
            ),
        )  # fmt: skip


def add_residual(
    x: Tensor, first: CpuConvolution, second: CpuConvolution, before: int, mirrored: int
) -> Tensor:
    """SEANet's residual block, x [B, C, n] -> [B, C, n]: see `kernels.cpu.residual`."""
    if first.kernel == 3 and x.shape[1] >= _MANY_CHANNELS:
        return _by_frame(
            x, x.shape[1], x.shape[2],
            lambda frames, out: residual_block_of_three(
                frames, before, mirrored, first.transformed, first.bias, second.weight,
                second.bias, out,
            ),
        )  # fmt: skip
    return _by_frame(
        x, x.shape[1], x.shape[2],
        lambda frames, out: residual_block(
            frames, first.kernel, before, mirrored, first.weight, first.bias, second.weight,
            second.bias, out,
        ),
    )  # fmt: skip


class CpuUpsampling:
    """Transposed convolution whose kernel is two strides long.

    An output frame is `ratio` neighbouring samples of N channels; it depends on the input frames
    before and at its own place. weight [C, N, 2 * ratio], bias [N].
    """

    def __init__(self, weight: Tensor, bias: Tensor, ratio: int) -> None:
        self._ratio = ratio
        self._channels = weight.shape[1]
        by_tap = weight.detach().permute(2, 1, 0).flatten(0, 1)  # [2 * ratio * N, C]
        at, before = by_tap.chunk(2)
        self._weights = [pack_panels(one.contiguous().numpy()) for one in (at + before, before, at)]
        self._bias: Floats = bias.detach().repeat(ratio).numpy()

    def __call__(self, x: Tensor, activate: bool) -> Tensor:
        """x [B, C, n] -> [B, N, m], of which the first (n + 1) * ratio samples are meant."""
        batch, _, n = x.shape
        rows = n // 2 * 2 + 2
        y = _by_frame(
            x, self._ratio * self._channels, rows,
            lambda frames, out: upsample(frames, activate, *self._weights, self._bias, out),
        )  # fmt: skip
        return y.transpose(1, 2).reshape(batch, -1, self._channels).transpose(1, 2)


def _by_frame(
    x: Tensor, outputs: int, length: int, compute: Callable[[Floats, Floats], None]
) -> Tensor:
    """Call `compute` for each sequence of the batch: frames [n, C], output [length, outputs]."""
    limit_threads(torch.get_num_threads())
    frames = x.detach().transpose(1, 2).contiguous()
    out = torch.empty(len(x), length, outputs)
    for one, result in zip(frames.numpy(), out.numpy(), strict=True):
        compute(one, result)
    return out.transpose(1, 2)


def is_supported(layer: nn.Conv1d | nn.ConvTranspose1d) -> bool:
    """Return whether the kernels have the layer's shape."""
    if layer.bias is None or layer.dilation != (1,):
        return False
    if isinstance(layer, nn.ConvTranspose1d):
        return layer.stride[0] * layer.out_channels % PANEL == 0
    few = layer.out_channels <= FEW_OUTPUTS and layer.stride == (1,)
    return few or layer.out_channels % PANEL == 0
