"""Codes -> PCM, chunk by chunk, for one sequence."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.streaming import DecoderState


class StreamingDecoder:
    """One sequence's way through the codec. The chunks' borders depend on the sequence alone, never on its neighbours.

    `is_due` and `advance` count the frames that are there, in one thread; `decode` may follow in another.

    stereo_codebooks: the codebooks alternate between left and right, each of which a mono codec decodes.
    """

    def __init__(
        self, codec: Encodec, stereo_codebooks: bool, first_chunk_frames: int, chunk_frames: int
    ) -> None:
        self.frames_in = 0
        self._codec, self._stereo_codebooks = codec, stereo_codebooks
        self._chunk_frames = chunk_frames
        self._next_border = first_chunk_frames + codec.lookahead_frames
        self._state = DecoderState()

    def is_due(self, frames_complete: int) -> bool:
        """Whether enough frames are there for the next chunk."""
        return frames_complete >= self._next_border

    def advance(self, frames: int) -> None:
        """So many frames more will be decoded."""
        self.frames_in += frames
        self._next_border = self.frames_in + self._chunk_frames

    @torch.inference_mode()
    def decode(self, codes: Tensor, final: bool) -> NDArray[np.float32]:
        """The next codes [K, n] -> the audio [channels, samples] that they complete."""
        batch = torch.stack([codes[0::2], codes[1::2]]) if self._stereo_codebooks else codes[None]
        audio = self._codec.decode_chunk(batch, self._state, final)
        return audio.flatten(0, 1).float().cpu().numpy()
