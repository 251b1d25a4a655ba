"""EnCodec: residual vector quantization and SEANet, with chunked decoding that equals decoding the whole.

Follows "High Fidelity Neural Audio Compression" (arXiv:2210.13438), as configured for MusicGen.
The convolutions look a few frames back and ahead, so a chunk is decoded within a window that holds those frames; the
LSTM runs forward in time, so its state is carried on. Layers are numbered as in the published checkpoints.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def __init__(self, config: EncodecConfig, channels_in: int, channels_out: int, kernel_size: int, **kwargs: int):
        super().__init__(channels_in, channels_out, kernel_size, **kwargs)  # type: ignore[arg-type]
        self.pad_mode = config.pad_mode
        self.span = (kernel_size - 1) * self.dilation[0] + 1
        total = self.span - self.stride[0]
        self.pad_right = 0 if config.causal else total // 2
        self.pad_left = total - self.pad_right

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels_in, n] -> [B, channels_out, ceil(n / stride)]"""
        extra = -x.shape[-1] % self.stride[0]
        return super().forward(self._pad(x, self.pad_left, self.pad_right + extra))

    def _pad(self, x: Tensor, left: int, right: int) -> Tensor:
        if self.pad_mode != "reflect":
            return F.pad(x, (left, right), self.pad_mode)
        missing = max(0, max(left, right) - x.shape[-1] + 1)  # reflection needs more samples than it adds
        padded = F.pad(F.pad(x, (0, missing)), (left, right), "reflect")
        return padded[..., : padded.shape[-1] - missing]

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """The input positions that outputs `first` to `last` depend on (stride 1)."""
        return first - self.pad_left, last + self.span - 1 - self.pad_left


class ConvTranspose1d(nn.ConvTranspose1d):
    """An upsampling by `stride`: the overhang of the kernel is trimmed from both ends (from the right when causal)."""

    def __init__(self, config: EncodecConfig, channels_in: int, channels_out: int, ratio: int):
        super().__init__(channels_in, channels_out, kernel_size=2 * ratio, stride=ratio)
        self.trim_right = math.ceil(ratio * config.trim_right_ratio) if config.causal else ratio // 2
        self.trim_left = ratio - self.trim_right

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """x [B, channels_in, n] -> [B, channels_out, n * stride]"""
        y = super().forward(x, output_size)
        return y[..., self.trim_left : y.shape[-1] - self.trim_right]

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """The input positions that outputs `first` to `last` depend on."""
        stride, span = self.stride[0], self.kernel_size[0]
        return -((-(first + self.trim_left - span + 1)) // stride), (last + self.trim_left) // stride


class ResidualBlock(nn.Module):
    """Two convolutions around a narrower middle, added to their input."""

    def __init__(self, config: EncodecConfig, channels: int, dilation: int) -> None:
        super().__init__()
        middle = channels // config.compress
        first = Conv1d(config, channels, middle, config.residual_kernel_size, dilation=dilation)
        self.block = nn.ModuleList([nn.ELU(), first, nn.ELU(), Conv1d(config, middle, channels, 1)])
        self.shortcut: nn.Module = Conv1d(config, channels, channels, 1) if config.conv_shortcut else nn.Identity()

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

    def forward(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """x [B, C, n] and the state after what came before -> [B, C, n] and the state after it."""
        steps = x.permute(2, 0, 1)
        y, state = self.lstm(steps, state)
        return (y + steps).permute(1, 2, 0), cast(LSTMState, state)


def seanet_encoder(config: EncodecConfig) -> nn.ModuleList:
    channels = config.num_filters
    layers: list[nn.Module] = [Conv1d(config, config.channels, channels, config.kernel_size)]
    for ratio in reversed(config.upsampling_ratios):
        for i in range(config.num_residual_layers):
            layers.append(ResidualBlock(config, channels, config.dilation_growth_rate**i))
        layers += [nn.ELU(), Conv1d(config, channels, 2 * channels, 2 * ratio, stride=ratio)]
        channels *= 2
    if config.num_lstm_layers:
        layers.append(SkipLSTM(channels, config.num_lstm_layers))
    layers += [nn.ELU(), Conv1d(config, channels, config.codebook_dim, config.last_kernel_size)]
    return nn.ModuleList(layers)


def seanet_decoder(config: EncodecConfig) -> nn.ModuleList:
    channels = config.num_filters * 2 ** len(config.upsampling_ratios)
    layers: list[nn.Module] = [Conv1d(config, config.codebook_dim, channels, config.kernel_size)]
    if config.num_lstm_layers:
        layers.append(SkipLSTM(channels, config.num_lstm_layers))
    for ratio in config.upsampling_ratios:
        layers += [nn.ELU(), ConvTranspose1d(config, channels, channels // 2, ratio)]
        channels //= 2
        for i in range(config.num_residual_layers):
            layers.append(ResidualBlock(config, channels, config.dilation_growth_rate**i))
    layers += [nn.ELU(), Conv1d(config, channels, config.channels, config.last_kernel_size)]
    return nn.ModuleList(layers)


@dataclass
class Window:
    """The frames that one stack of convolutions still needs. `start` is the first frame held, `done` the first frame
    not yet put out; both count from the start of the piece."""

    frames: Tensor | None = None
    start: int = 0
    done: int = 0


@dataclass
class DecoderState:
    """What chunked decoding carries from one chunk of a piece to the next."""

    latents: Window = field(default_factory=Window)
    lstm: LSTMState | None = None
    features: Window = field(default_factory=Window)


class Encodec(nn.Module):
    """The codec: audio [B, channels, n * hop_length] <-> codes [B, num_quantizers, n]."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.config = config
        entries = config.num_quantizers * config.codebook_size
        self.codebooks = nn.Parameter(torch.zeros(entries, config.codebook_dim), requires_grad=False)
        self.encoder, self.decoder = seanet_encoder(config), seanet_decoder(config)
        self._first_upsampling = 2 if config.num_lstm_layers else 1

    def encode(self, audio: Tensor, num_codebooks: int | None = None) -> Tensor:
        """audio [B, channels, samples] -> codes [B, num_codebooks, ceil(samples / hop_length)]"""
        x = audio
        for layer in self.encoder:
            x = layer(x)[0] if isinstance(layer, SkipLSTM) else layer(x)
        residual, codes = x.transpose(1, 2), []
        for codebook in self.codebooks.view(self.config.num_quantizers, self.config.codebook_size, -1)[:num_codebooks]:
            # |r - c|^2 without |r|^2, which is the same for every code
            nearest = (codebook.pow(2).sum(-1) - 2 * residual @ codebook.T).argmin(-1)
            residual = residual - codebook[nearest]
            codes.append(nearest)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, K, frames] -> audio [B, channels, frames * hop_length], the whole at once."""
        return self.decode_chunk(codes, DecoderState(), final=True)

    def decode_chunk(self, codes: Tensor, state: DecoderState, final: bool) -> Tensor:
        """The next codes [B, K, n] of a piece -> the audio [B, channels, samples] that they complete.

        The last few frames are held back until their look-ahead is there, or `final` says that nothing follows.
        """
        x = self._advance(state.latents, self._dequantize(codes), self._first_conv_context(), self._first, final)
        if x is not None and self.config.num_lstm_layers:
            x, state.lstm = cast(SkipLSTM, self.decoder[1])(x, state.lstm)
        audio = self._advance(state.features, x, self.context_frames(), self._upsample, final)
        return self.codebooks.new_zeros(len(codes), self.config.channels, 0) if audio is None else audio

    def context_frames(self) -> tuple[int, int]:
        """Frames before and after a frame, at the LSTM's output, that the frame's audio depends on."""
        first, last = 0, self.config.hop_length - 1
        for layer in reversed(self.decoder[self._first_upsampling :]):
            if isinstance(layer, (Conv1d, ConvTranspose1d, ResidualBlock)):
                first, last = layer.inputs_of(first, last)
        return -first, last

    @property
    def lookahead_frames(self) -> int:
        """Frames that must follow a frame before its audio is complete (at the piece's start, a few more if causal)."""
        return self._first_conv_context()[1] + self.context_frames()[1]

    def _dequantize(self, codes: Tensor) -> Tensor:
        """codes [B, K, n] -> latents [B, codebook_dim, n]"""
        offsets = torch.arange(codes.shape[1], device=codes.device)[:, None] * self.config.codebook_size
        return self.codebooks[codes + offsets].sum(dim=1).transpose(1, 2)

    def _first_conv_context(self) -> tuple[int, int]:
        first, last = cast(Conv1d, self.decoder[0]).inputs_of(0, 0)
        return -first, last

    def _first(self, latents: Tensor) -> Tensor:
        return cast(Tensor, self.decoder[0](latents))

    def _upsample(self, features: Tensor) -> Tensor:
        for layer in self.decoder[self._first_upsampling :]:
            features = layer(features)
        return features

    @staticmethod
    def _advance(
        window: Window, new: Tensor | None, context: tuple[int, int], stack: Callable[[Tensor], Tensor], final: bool
    ) -> Tensor | None:
        """Run `stack` over the window and the new frames; the outputs that are complete and not yet put out, if any.

        A window begins at the piece's start or `context[0]` frames before what is put out, so that the padding at its
        borders is the whole piece's own, or falls on outputs that are thrown away.
        """
        held = [part for part in (window.frames, new) if part is not None]
        if not held:
            return None
        frames = torch.cat(held, dim=-1)
        end = window.start + frames.shape[-1]
        # At the piece's start, padding by reflection mirrors as many frames ahead as the stack looks back.
        ahead = context[1] if window.done else max(context)
        ready = end if final else max(window.done, end - ahead)
        window.frames = frames
        if ready == window.done:
            return None
        y = stack(frames)
        scale = y.shape[-1] // frames.shape[-1]
        y = y[..., (window.done - window.start) * scale : (ready - window.start) * scale]
        start = max(window.start, ready - context[0])
        window.frames, window.start, window.done = frames[..., start - window.start :], start, ready
        return y
