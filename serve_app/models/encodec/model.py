"""EnCodec: residual vector quantization around SEANet, with chunked decoding that equals decoding the whole.

Follows "High Fidelity Neural Audio Compression" (arXiv:2210.13438), as configured for MusicGen. The convolutions look
back and ahead, so each stage, up to the next upsampling, keeps a window of what it still needs of its input; the LSTM
runs forward in time, so its state is carried on.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from serve_app.models.encodec.seanet import (
    Conv1d,
    ConvTranspose1d,
    Elu,
    EncodecConfig,
    LSTMState,
    ResidualBlock,
    SkipLSTM,
    seanet_decoder,
    seanet_encoder,
)

_PIECE = 50  # frames


@dataclass
class Window:
    """The input that one stage still needs, in frames at its own rate. `start` is the first frame held, `done` the
    first frame not yet put out; both count from the start of the piece."""

    frames: Tensor | None = None
    start: int = 0
    done: int = 0


@dataclass
class DecoderState:
    """What chunked decoding carries from one chunk of a piece to the next."""

    windows: dict[int, Window] = field(default_factory=dict)  # by stage
    lstm: LSTMState | None = None


class Encodec(nn.Module):
    """The codec: audio [B, channels, n * hop_length] <-> codes [B, num_quantizers, n]."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.config = config
        entries = config.num_quantizers * config.codebook_size
        self.codebooks = nn.Parameter(
            torch.zeros(entries, config.codebook_dim), requires_grad=False
        )
        self.encoder, self.decoder = seanet_encoder(config), seanet_decoder(config)
        self._stages = _stages(self.decoder)

    def encode(self, audio: Tensor, num_codebooks: int | None = None) -> Tensor:
        """audio [B, channels, samples] -> codes [B, num_codebooks, ceil(samples / hop_length)]"""
        x = audio
        for layer in self.encoder:
            x = layer(x)[0] if isinstance(layer, SkipLSTM) else layer(x)
        residual, codes = x.transpose(1, 2), []
        for codebook in self.codebooks.view(
            self.config.num_quantizers, self.config.codebook_size, -1
        )[:num_codebooks]:
            # |r - c|^2 without |r|^2, which is the same for every code
            nearest = (codebook.pow(2).sum(-1) - 2 * residual @ codebook.T).argmin(-1)
            residual = residual - codebook[nearest]
            codes.append(nearest)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, K, frames] -> audio [B, channels, frames * hop_length]. In pieces, which stay in a CPU's cache."""
        state, last = DecoderState(), codes.shape[-1] - _PIECE
        starts = range(0, codes.shape[-1], _PIECE)
        return torch.cat(
            [self.decode_chunk(codes[..., s : s + _PIECE], state, s >= last) for s in starts],
            dim=-1,
        )

    def decode_chunk(self, codes: Tensor, state: DecoderState, final: bool) -> Tensor:
        """The next codes [B, K, n] of a piece -> the audio [B, channels, samples] that they complete.

        The last few frames are held back until their look-ahead is there, or `final` says that nothing follows.
        """
        x: Tensor | None = self._dequantize(codes)
        for number, stage in enumerate(self._stages):
            x = stage.advance(state.windows.setdefault(number, Window()), x, final)
            if number == 0 and x is not None and self.config.num_lstm_layers:
                x, state.lstm = cast(SkipLSTM, self.decoder[1])(x, state.lstm)
        return self.codebooks.new_zeros(len(codes), self.config.channels, 0) if x is None else x

    @property
    def lookahead_frames(self) -> int:
        """Frames that must follow a frame before its audio is complete (at the piece's start, a few more if causal)."""
        ahead = 0
        for stage in reversed(self._stages):
            ahead = math.ceil(ahead / stage.scale) + stage.after
        return ahead

    def _dequantize(self, codes: Tensor) -> Tensor:
        """codes [B, K, n] -> latents [B, codebook_dim, n]"""
        offsets = (
            torch.arange(codes.shape[1], device=codes.device)[:, None] * self.config.codebook_size
        )
        return self.codebooks[codes + offsets].sum(dim=1).transpose(1, 2)


class _Stage:
    """Layers at one rate, of which the first may bring about that rate: `scale` frames out for each frame in.

    before, after: frames of its input around a frame that what it makes of that frame depends on.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self._layers = list(layers)
        self.scale = next(
            (layer.stride[0] for layer in self._layers if isinstance(layer, ConvTranspose1d)), 1
        )
        first, last = 0, self.scale - 1
        for layer in reversed(self._layers):
            if isinstance(layer, (Conv1d, ConvTranspose1d, ResidualBlock)):
                first, last = layer.inputs_of(first, last)
        self.before, self.after = -first, last

    def advance(self, window: Window, new: Tensor | None, final: bool) -> Tensor | None:
        """Run over the window and the new frames; the outputs that are complete and not yet put out, if any.

        A window begins at the piece's start or `before` frames before what is put out, so that the padding at its
        borders is the whole piece's own, or falls on outputs that are thrown away.
        """
        held = [part for part in (window.frames, new) if part is not None]
        if not held:
            return None
        frames = torch.cat(held, dim=-1)
        end = window.start + frames.shape[-1]
        # At the piece's start, padding by reflection mirrors as many frames ahead as the stage looks back.
        ahead = self.after if window.done else max(self.before, self.after)
        ready = end if final else max(window.done, end - ahead)
        window.frames = frames
        if ready == window.done:
            return None
        y = frames
        for layer in self._layers:
            y = layer(y)
        y = y[..., (window.done - window.start) * self.scale : (ready - window.start) * self.scale]
        start = max(window.start, ready - self.before)
        window.frames, window.start, window.done = frames[..., start - window.start :], start, ready
        return y


def _stages(decoder: nn.ModuleList) -> list[_Stage]:
    """The first convolution; then, behind the LSTM, up to each next upsampling, and the last convolution."""
    groups: list[list[nn.Module]] = [[decoder[0]]]
    for layer in decoder[1:]:
        if isinstance(layer, Elu):
            groups.append([])
        if not isinstance(layer, SkipLSTM):
            groups[-1].append(layer)
    return [_Stage(group) for group in groups]
