"""SEANet: EnCodec's convolutional encoder and decoder with an LSTM in the middle.

Follows arXiv:2009.02095. Layers are numbered as in the published checkpoints.
"""

from typing import cast

import torch
from torch import Tensor, nn

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d
from serve_app.models.encodec.lstm import SkipLSTM


class Elu(nn.Module):
    """nn.ELU in two thirds of its time on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, x.clamp(max=0).exp_().sub_(1))


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
        y = x
        for layer in self.block:
            y = layer(y)
        return cast(Tensor, self.shortcut(x)) + y

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
