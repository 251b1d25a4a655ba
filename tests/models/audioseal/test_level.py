"""The watermark stays below its bound in every block, without jumps of its gain, in chunks as in the whole."""

import pytest
import torch
from torch import Tensor

from serve_app.models.audioseal.level import LevelBound, LevelState

BLOCK = 100


def added(level: LevelBound, audio: Tensor, watermark: Tensor) -> Tensor:
    return level.add(audio, watermark, LevelState(), True) - audio


def levels_db(part: Tensor, audio: Tensor) -> Tensor:
    """Level of each block, in dB relative to the audio."""
    power = part.view(len(part), -1, BLOCK).square().sum(-1)
    return 10 * (power / audio.view(len(audio), -1, BLOCK).square().sum(-1)).log10()


@pytest.mark.parametrize("bound_db", [-30.0, -40.0])
def test_a_loud_watermark_is_scaled_down_in_every_block(bound_db: float) -> None:
    envelope = torch.rand(2, 50, 1).expand(-1, -1, BLOCK).flatten(1)
    audio = torch.randn(2, 50 * BLOCK) * envelope
    mark = added(LevelBound(BLOCK, bound_db), audio, torch.randn(2, 50 * BLOCK))
    measured = levels_db(mark, audio)
    assert measured.max() <= bound_db + 0.01
    assert measured.max() > bound_db - 6


def test_a_soft_watermark_is_added_exactly() -> None:
    audio = torch.randn(1, 10 * BLOCK)
    watermark = 1e-3 * torch.randn(1, 10 * BLOCK)
    marked = LevelBound(BLOCK, -30.0).add(audio, watermark, LevelState(), True)
    torch.testing.assert_close(marked, audio + watermark, rtol=0, atol=0)


def test_silence_stays_silent() -> None:
    audio = torch.cat([torch.randn(1, 5 * BLOCK), torch.zeros(1, 5 * BLOCK)], dim=1)
    marked = LevelBound(BLOCK, -30.0).add(audio, torch.randn(1, 10 * BLOCK), LevelState(), True)
    assert marked[:, 5 * BLOCK :].abs().max() == 0


def test_the_gain_has_no_jumps() -> None:
    audio = torch.cat([torch.full((1, 3 * BLOCK), 1.0), torch.full((1, 3 * BLOCK), 0.1)], dim=1)
    gain = added(LevelBound(BLOCK, -30.0), audio, torch.ones(1, 6 * BLOCK))
    assert gain.diff().abs().max() < 2 * 10 ** (-30 / 20) / BLOCK


@pytest.mark.parametrize("sizes", [1, 99, 250, [BLOCK, 1, 530, 372]])
def test_chunks_join_to_the_whole_while_the_watermark_lags(sizes: int | list[int]) -> None:
    lag = 130
    audio = torch.randn(2, 1003)
    watermark = torch.randn(2, 1003)
    whole = LevelBound(BLOCK, -30.0).add(audio, watermark, LevelState(), True)
    state = LevelState()
    level = LevelBound(BLOCK, -30.0)
    parts = []
    end = 0
    for part in torch.split(audio, sizes, dim=1):
        start = max(0, end - lag)
        end += part.shape[1]
        final = end == 1003
        mark = watermark[:, start : None if final else max(0, end - lag)]
        parts.append(level.add(part, mark if mark.shape[1] else None, state, final))
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-6)
