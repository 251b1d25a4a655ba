"""SEANet: the convolutional encoder and decoder of EnCodec, with an LSTM in the middle (arXiv:2009.02095).

Layers are numbered as in the published checkpoints.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LARGE = 2**19  # weights: fewer stay in the CPU's cache, whoever reads them
_MANY = 2**22  # weights: more take longer to rearrange for a convolution than it does


def _as_image(x: Tensor) -> Tensor:
    """x [B, C, n] -> [B, C, 1, n], a frame's channels side by side: the order for which oneDNN is twice as fast."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _operand(x: Tensor) -> Tensor:
    """As oneDNN takes it, whose products are up to three times as fast; as it is where PyTorch has no oneDNN."""
    return x.to_mkldnn() if torch.backends.mkldnn.is_available() else x  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class EncodecConfig:
    sample_rate: int
    channels: int
    num_quantizers: int
    codebook_size: int
    codebook_dim: int
    num_filters: int
    num_residual_layers: int
    upsampling_ratios: tuple[int, ...]
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    compress: int = 2
    num_lstm_layers: int = 2
    conv_shortcut: bool = False
    causal: bool = False
    trim_right_ratio: float = 1.0
    pad_mode: str = "reflect"

    @property
    def hop_length(self) -> int:
        return math.prod(self.upsampling_ratios)

    @property
    def frame_rate(self) -> float:
        return self.sample_rate / self.hop_length


class Conv1d(nn.Conv1d):
    """A convolution that pads its input so that `n` samples give `ceil(n / stride)`."""

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
        return F.conv2d(
            _as_image(x), weight, self.bias, (1, *self.stride), 0, (1, *self.dilation)
        ).squeeze(2)

    def _by_tap(self, x: Tensor) -> Tensor:
        """One product for all taps, whose shifted results are added: several times as fast for so few outputs."""
        taps, n = self.kernel_size[0], x.shape[-1] - self.kernel_size[0] + 1
        weight = self.weight.transpose(1, 2).flatten(0, 1).contiguous()
        by_tap = (weight @ x).view(len(x), self.out_channels, taps, -1)
        y = by_tap[:, :, 0, :n] + cast(Tensor, self.bias)[:, None]
        for tap in range(1, taps):
            y += by_tap[:, :, tap, tap : tap + n]
        return y

    def _pad(self, x: Tensor, left: int, right: int) -> Tensor:
        if self.pad_mode != "reflect":
            return F.pad(x, (left, right), self.pad_mode)
        n = x.shape[-1]
        missing = max(0, max(left, right) - n + 1)  # reflection needs more samples than it adds
        if not missing:  # as F.pad, in a third of its time
            padded = x.new_empty(len(x), left + n + right, x.shape[1]).transpose(1, 2)
            padded[..., left : left + n] = x
            padded[..., :left] = x[..., 1 : left + 1].flip(-1)
            padded[..., left + n :] = x[..., n - right - 1 : n - 1].flip(-1)
            return padded
        padded = F.pad(F.pad(x, (0, missing)), (left, right), "reflect")
        return padded[..., : padded.shape[-1] - missing]

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """The input positions that outputs `first` to `last` depend on (stride 1)."""
        return first - self.pad_left, last + self.span - 1 - self.pad_left


class ConvTranspose1d(nn.ConvTranspose1d):
    """An upsampling by `stride`: the overhang of the kernel is trimmed from both ends (from the right when causal)."""

    def __init__(self, config: EncodecConfig, channels_in: int, channels_out: int, ratio: int):
        super().__init__(channels_in, channels_out, kernel_size=2 * ratio, stride=ratio)
        self.trim_right = (
            math.ceil(ratio * config.trim_right_ratio) if config.causal else ratio // 2
        )
        self.trim_left = ratio - self.trim_right
        self._taps: Tensor | None = None

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """x [B, channels_in, n] -> [B, channels_out, n * stride]"""
        if x.device.type != "cpu":
            y = super().forward(x, output_size)
        elif self.weight.numel() >= _MANY:
            y = self._by_tap(x)
        else:
            y = F.conv_transpose2d(
                _as_image(x), self.weight.unsqueeze(2), self.bias, (1, *self.stride)
            ).squeeze(2)
        return y[..., self.trim_left : y.shape[-1] - self.trim_right]

    def _by_tap(self, x: Tensor) -> Tensor:
        """One product for all taps: the kernels for convolutions would rearrange so many weights for each call. An
        output is the sum of two, for the kernel is two strides long."""
        batch, n, ratio = len(x), x.shape[-1], self.stride[0]
        if self._taps is None:
            self._taps = _operand(self.weight.permute(2, 1, 0).flatten(0, 1))
        frames = x.transpose(1, 2).contiguous()
        by_tap = (
            F.linear(_operand(frames), self._taps)
            .to_dense()
            .view(batch, n, 2, ratio, self.out_channels)
        )
        y = cast(Tensor, self.bias).expand(batch, n + 1, ratio, -1).clone()
        y[:, :n] += by_tap[:, :, 0]
        y[:, 1:] += by_tap[:, :, 1]
        return y.flatten(1, 2).transpose(1, 2)

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """The input positions that outputs `first` to `last` depend on."""
        stride, span = self.stride[0], self.kernel_size[0]
        return -((-(first + self.trim_left - span + 1)) // stride), (
            last + self.trim_left
        ) // stride


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
        y = x
        for layer in self.block:
            y = layer(y)
        return cast(Tensor, self.shortcut(x)) + y

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        return cast(Conv1d, self.block[1]).inputs_of(first, last)


LSTMState = tuple[Tensor, Tensor]


class SkipLSTM(nn.Module):
    """An LSTM over time, added to its input."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers)
        self._inputs: list[tuple[Tensor, Tensor]] = []  # weights and biases, as oneDNN wants them

    def forward(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """x [B, C, n] and the state after what came before -> [B, C, n] and the state after it."""
        steps = x.permute(2, 0, 1)
        if x.device.type == "cpu" and 4 * self.lstm.hidden_size**2 >= _LARGE:
            y, state = self._on_cpu(steps, state)
        else:
            y, state = self.lstm(steps, state)
        return (y + steps).permute(1, 2, 0), cast(LSTMState, state)

    def _on_cpu(self, steps: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """Layer by layer, so that one layer's weights stay in the CPU's cache."""
        from serve_app.kernels.cpu.lstm import lstm_layer
        from serve_app.models.cpu_threads import (
            use_threads,  # they import numba, which small models do not need
        )

        use_threads()
        if not self._inputs:
            parts = self.lstm.all_weights
            self._inputs = [(_operand(weight), _operand(b0 + b1)) for weight, _, b0, b1 in parts]
        shape = (self.lstm.num_layers, steps.shape[1], self.lstm.hidden_size)
        hidden, cell = (
            steps.new_zeros(shape) if state is None else state[i].clone() for i in range(2)
        )
        for layer, (_, weight, *_) in enumerate(self.lstm.all_weights):
            gates = F.linear(_operand(steps), *self._inputs[layer]).to_dense()
            steps = torch.empty(*steps.shape[:2], self.lstm.hidden_size)
            lstm_layer(
                gates.numpy(),
                weight.detach().numpy(),
                hidden[layer].numpy(),
                cell[layer].numpy(),
                steps.numpy(),
            )
        return steps, (hidden, cell)


def seanet_encoder(config: EncodecConfig) -> nn.ModuleList:
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
