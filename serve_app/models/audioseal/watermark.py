"""The watermark of tracks: computed at AudioSeal's rate, added at the model's, while they are made."""

import torch
from torch import Tensor

from serve_app.models.audioseal.chain import ChainState
from serve_app.models.audioseal.config import FRAME_RATE, MESSAGE_BITS
from serve_app.models.audioseal.generator import Generator
from serve_app.models.audioseal.level import LevelBound, LevelState

_BLOCK_FRAMES = 2  # of the bound of the level: 40 ms


class Watermark:
    """Marks tracks at `sample_rate` with one message.

    Each channel has a watermark of its own, with the same message.
    """

    def __init__(
        self, generator: Generator, sample_rate: int, message: int, max_level_db: float
    ) -> None:
        if not 0 <= message < 2**MESSAGE_BITS:
            raise ValueError(f"the message {message} has more than {MESSAGE_BITS} bits")
        self.chain = generator.chain(message, sample_rate)
        self.hop_length = sample_rate // FRAME_RATE
        self.level = LevelBound(_BLOCK_FRAMES * self.hop_length, max_level_db)

    @property
    def lookahead(self) -> int:
        """Samples at the model's rate that must follow one before it is marked."""
        return self.chain.lookahead + 2 * self.level.block - 1


class WatermarkStream:
    """The marking of one track."""

    def __init__(self, watermark: Watermark) -> None:
        self._watermark = watermark
        self._state = ChainState()
        self._level = LevelState()
        self._received = 0

    @torch.inference_mode()
    def add(self, audio: Tensor, final: bool) -> Tensor:
        """Take the next audio [channels, n]; return the marked audio [channels, m] that it completes."""
        self._received += audio.shape[1]
        padded = audio
        if final:  # up to a whole frame
            padded = torch.nn.functional.pad(
                audio, (0, -self._received % self._watermark.hop_length)
            )
        new = self._watermark.chain.advance(padded[:, None], self._state, final)
        mark = None if new is None else new[:, 0]
        return self._watermark.level.add(audio, mark, self._level, final)
