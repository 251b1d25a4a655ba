"""EnCodec: residual vector quantization around SEANet. Chunked decoding equals decoding the whole.

Follows "High Fidelity Neural Audio Compression" (arXiv:2210.13438), as configured for MusicGen.
"""

from typing import cast

import torch
from torch import Tensor, nn

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.lstm import SkipLSTM
from serve_app.models.encodec.rvq import dequantize, quantize
from serve_app.models.encodec.seanet import seanet_decoder, seanet_encoder
from serve_app.models.encodec.streaming import (
    DecoderState,
    StageBuffer,
    decoder_stages,
    lookahead,
)

_CHUNK_FRAMES = 50


class Encodec(nn.Module):
    """The codec: audio [B, channels, n * hop_length] <-> codes [B, num_quantizers, n]."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.config = config
        entries = config.num_quantizers * config.codebook_size
        self.codebooks = nn.Parameter(
            torch.zeros(entries, config.codebook_dim), requires_grad=False
        )
        self.encoder = seanet_encoder(config)
        self.decoder = seanet_decoder(config)
        self._stages = decoder_stages(self.decoder)

    def encode(self, audio: Tensor, num_codebooks: int | None = None) -> Tensor:
        """audio [B, channels, samples] -> codes [B, num_codebooks, ceil(samples / hop_length)]"""
        x = audio
        for layer in self.encoder:
            x = layer(x)[0] if isinstance(layer, SkipLSTM) else layer(x)
        return quantize(x, self._by_codebook()[:num_codebooks])

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, K, frames] -> audio [B, channels, frames * hop_length].

        Decodes chunk by chunk: the intermediate results of one chunk stay in a CPU's cache.
        """
        state = DecoderState()
        chunks = torch.split(codes, _CHUNK_FRAMES, dim=-1)
        audio = [self.decode_chunk(chunk, state, False) for chunk in chunks[:-1]]
        return torch.cat([*audio, self.decode_chunk(chunks[-1], state, True)], dim=-1)

    def decode_chunk(self, codes: Tensor, state: DecoderState, final: bool) -> Tensor:
        """Decode the next codes [B, K, n] -> the audio [B, channels, samples] that they complete.

        The last `lookahead_frames` are held back in `state` until what follows them is known, or
        `final` is set.
        """
        x: Tensor | None = dequantize(codes, self._by_codebook())
        for number, stage in enumerate(self._stages):
            x = stage.advance(state.buffers.setdefault(number, StageBuffer()), x, final)
            if number == 0 and x is not None and self.config.num_lstm_layers:
                x, state.lstm = cast(SkipLSTM, self.decoder[1])(x, state.lstm)
        return self.codebooks.new_zeros(len(codes), self.config.channels, 0) if x is None else x

    @property
    def lookahead_frames(self) -> int:
        """Frames that must follow a frame before its audio is complete.

        At a causal track's start, a few more must follow.
        """
        return lookahead(self._stages)

    def _by_codebook(self) -> Tensor:
        """[num_quantizers, codebook_size, codebook_dim]"""
        return self.codebooks.view(
            self.config.num_quantizers, self.config.codebook_size, self.config.codebook_dim
        )
