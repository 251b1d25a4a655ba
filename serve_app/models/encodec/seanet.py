"""SEANet: EnCodec's convolutional encoder and decoder with an LSTM in the middle.

Follows arXiv:2009.02095. Layers are numbered as in the published checkpoints.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d, elu
from serve_app.models.encodec.lstm import SkipLSTM

if TYPE_CHECKING:  # numba: small models need none
    from serve_app.models.encodec.cpu_convolutions import CpuConvolution


class Elu(nn.Module):
    """ELU (arXiv:1511.07289). `fused` makes it a part of the convolution that follows."""

    def forward(self, x: Tensor) -> Tensor:
        return elu(x)


def fused(layers: Iterable[nn.Module]) -> list[Callable[[Tensor], Tensor]]:
    """Return the layers as functions, each ELU before a convolution in one function with it."""
    functions: list[Callable[[Tensor], Tensor]] = []
    before: nn.Module | None = None
    for layer in layers:
        if isinstance(before, Elu) and isinstance(layer, (Conv1d, ConvTranspose1d)):
            functions[-1] = partial(layer, activate=True)
        else:
            functions.append(layer)
        before = layer
    return functions


class ResidualBlock(nn.Module):
    """Two convolutions around a narrower middle, added to their input."""

    def __init__(self, config: EncodecConfig, channels: int, dilation: int) -> None:
        super().__init__()
        middle = channels // config.compress
        first = Conv1d(config, channels, middle, config.residual_kernel_size, dilation=dilation)
        self.block = nn.ModuleList([Elu(), first, Elu(), Conv1d(config, middle, channels, 1)])
        self.shortcut: nn.Module = (
            Conv1d(config, channels, channels, 1) if config.conv_shortcut else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, n] -> [B, channels, n]"""
        kernels = self._kernels(x)
        if kernels is not None:
            from serve_app.models.encodec.cpu_convolutions import add_residual

            conv = cast(Conv1d, self.block[1])
            return add_residual(x, *kernels, conv.pad_left, conv.mirrored(x.shape[-1]))
        y = x
        for layer in self.block:
            y = layer(y)
        return cast(Tensor, self.shortcut(x)) + y

    def _kernels(self, x: Tensor) -> "tuple[CpuConvolution, CpuConvolution] | None":
        """Return both convolutions on the CPU kernels, None if not both can be."""
        if x.device.type != "cpu" or not isinstance(self.shortcut, nn.Identity):
            return None
        first = cast(Conv1d, self.block[1]).kernel
        second = cast(Conv1d, self.block[3]).kernel
        if first is None or second is None or min(first.outputs, second.outputs) <= 2:
            return None
        return first, second

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """First and last input position that outputs `first` to `last` depend on."""
        return cast(Conv1d, self.block[1]).inputs_of(first, last)


def seanet_encoder(config: EncodecConfig) -> nn.ModuleList:
    """Layers from audio [B, channels, n * hop_length] to latents [B, codebook_dim, n]."""
    channels = config.num_filters
    layers: list[nn.Module] = [Conv1d(config, config.channels, channels, config.kernel_size)]
    for ratio in reversed(config.upsampling_ratios):
        for i in range(config.num_residual_layers):
            layers.append(ResidualBlock(config, channels, config.dilation_growth_rate**i))
        layers += [Elu(), Conv1d(config, channels, 2 * channels, 2 * ratio, stride=ratio)]
        channels *= 2
    if config.num_lstm_layers:
        layers.append(SkipLSTM(channels, config.num_lstm_layers))
    layers += [Elu(), Conv1d(config, channels, config.codebook_dim, config.last_kernel_size)]
    return nn.ModuleList(layers)


def seanet_decoder(config: EncodecConfig) -> nn.ModuleList:
    """Layers from latents [B, codebook_dim, n] to audio [B, channels, n * hop_length]."""
    channels = config.num_filters * 2 ** len(config.upsampling_ratios)
    layers: list[nn.Module] = [Conv1d(config, config.codebook_dim, channels, config.kernel_size)]
    if config.num_lstm_layers:
        layers.append(SkipLSTM(channels, config.num_lstm_layers))
    for ratio in config.upsampling_ratios:
        layers += [Elu(), ConvTranspose1d(config, channels, channels // 2, ratio)]
        channels //= 2
        for i in range(config.num_residual_layers):
            layers.append(ResidualBlock(config, channels, config.dilation_growth_rate**i))
    layers += [Elu(), Conv1d(config, channels, config.channels, config.last_kernel_size)]
    return nn.ModuleList(layers)
