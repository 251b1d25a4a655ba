"""EnCodec: residual vector quantization around SEANet, with chunked decoding that equals decoding the whole.

Follows "High Fidelity Neural Audio Compression" (arXiv:2210.13438), as configured for MusicGen. The convolutions look a
few frames back and ahead, so a chunk is decoded within a window that holds those frames; the LSTM runs forward in time,
so its state is carried on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from serve_app.models.seanet import (
    Conv1d,
    ConvTranspose1d,
    EncodecConfig,
    LSTMState,
    ResidualBlock,
    SkipLSTM,
    seanet_decoder,
    seanet_encoder,
)


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
