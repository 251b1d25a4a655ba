"""Codes -> PCM of one sequence, with its watermark, chunk by chunk."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serve_app.engine.chunk_sizes import chunk_sizes
from serve_app.models.audioseal.watermark import Watermark, WatermarkStream
from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.streaming import DecoderState


class StreamingDecoder:
    """Streaming state of one sequence's decoding. Chunk borders depend on this sequence only.

    `is_due` and `advance` count complete frames in one thread; `decode` may follow in another.

    first_chunk_frames, chunk_frames: of the first and of the largest chunk; see `chunk_sizes`;
    stereo_codebooks: whether the codebooks alternate between left and right, which a mono codec
    decodes apart; watermark: None: the audio is not marked.
    """

    def __init__(
        self,
        codec: Encodec,
        stereo_codebooks: bool,
        first_chunk_frames: int,
        chunk_frames: int,
        watermark: Watermark | None = None,
    ) -> None:
        self.frames_in = 0
        self._codec = codec
        self._stereo_codebooks = stereo_codebooks
        self._sizes = chunk_sizes(first_chunk_frames, chunk_frames)
        self._next_border = next(self._sizes) + codec.lookahead_frames
        self._state = DecoderState()
        self._marking: WatermarkStream | None = None
        if watermark is not None:
            self._next_border += math.ceil(watermark.lookahead / codec.config.hop_length)
            self._marking = WatermarkStream(watermark)

    def is_due(self, frames_complete: int) -> bool:
        """Return whether enough frames are complete for the next chunk."""
        return frames_complete >= self._next_border

    def advance(self, frames: int) -> None:
        """Count frames that will be decoded."""
        self.frames_in += frames
        self._next_border = self.frames_in + next(self._sizes)

    @torch.inference_mode()
    def decode(self, codes: Tensor, final: bool) -> NDArray[np.float32]:
        """Decode the next codes [K, n] to the audio [channels, samples] that they complete.

        The codec and the watermark hold back their look-ahead until `final`, so that the last codes
        always complete some audio.
        """
        batch = torch.stack([codes[0::2], codes[1::2]]) if self._stereo_codebooks else codes[None]
        audio = self._codec.decode_chunk(batch, self._state, final).flatten(0, 1).float()
        if self._marking is not None:
            audio = self._marking.add(audio, final)
        return audio.cpu().numpy()
