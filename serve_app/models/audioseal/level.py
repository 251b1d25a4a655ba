"""Bound of a watermark's level below that of its audio."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class LevelState:
    """Audio and watermark [C, n] that wait for the block after them; gain [C] of the block before."""

    audio: Tensor | None = None
    watermark: Tensor | None = None
    gain: Tensor | None = None


class LevelBound:
    """Adds a watermark to audio, in blocks of `block` samples.

    In each block the root mean square of what is added is at most `max_level_db` of the audio's: a
    louder watermark is scaled down. The gain goes in a line through the lower gain of two blocks at
    their border, so that it never exceeds that of its block.
    """

    def __init__(self, block: int, max_level_db: float) -> None:
        self.block = block
        self._ratio = 10 ** (max_level_db / 20)
        self._slope = (torch.arange(block) + 0.5) / block

    def add(
        self, audio: Tensor, watermark: Tensor | None, state: LevelState, final: bool
    ) -> Tensor:
        """Take the next audio and watermark [C, n]; return marked audio [C, m].

        The watermark may lag behind. One block is held back until the next is there, or `final`.
        """
        state.audio = held = _joined(state.audio, audio)
        if watermark is not None:
            state.watermark = _joined(state.watermark, watermark)
        if state.watermark is None:
            return audio[:, :0]
        mark = state.watermark
        whole = held.shape[1] if final else mark.shape[1] // self.block * self.block
        if not whole:
            return audio[:, :0]
        gains = self._gains(
            _blocks(held[:, :whole], self.block), _blocks(mark[:, :whole], self.block)
        )
        ready = gains.shape[1] if final else gains.shape[1] - 1
        if ready <= 0:
            return audio[:, :0]
        end = min(ready * self.block, whole)
        gain = self._interpolated(gains, ready, state.gain)[:, :end]
        state.audio = held[:, end:]
        state.watermark = mark[:, end:]
        state.gain = gains[:, ready - 1]
        return held[:, :end] + gain * mark[:, :end]

    def _gains(self, audio: Tensor, watermark: Tensor) -> Tensor:
        """audio, watermark [C, blocks, block] -> the highest allowed gain of each block [C, blocks]"""
        allowed = audio.square().sum(dim=-1).sqrt() * self._ratio
        power = watermark.square().sum(dim=-1).sqrt()
        return torch.where(power > allowed, allowed / power.clamp(min=1e-30), 1.0)

    def _interpolated(self, gains: Tensor, ready: int, before: Tensor | None) -> Tensor:
        """gains [C, blocks], gain of the block before [C] -> gains of samples [C, ready * block]"""
        first = gains[:, :1] if before is None else before[:, None]
        borders = torch.minimum(torch.cat([first, gains], dim=1), F.pad(gains, (0, 1), value=1.0))
        start = borders[:, :ready, None]
        end = borders[:, 1 : ready + 1, None]
        return (start + (end - start) * self._slope.to(gains.device)).flatten(1)


def _joined(held: Tensor | None, new: Tensor) -> Tensor:
    return new if held is None else torch.cat([held, new], dim=1)


def _blocks(x: Tensor, block: int) -> Tensor:
    """x [C, n] -> [C, ceil(n / block), block], the last one filled up by zeros"""
    padded = F.pad(x, (0, -x.shape[1] % block))
    return padded.view(len(x), -1, block)
