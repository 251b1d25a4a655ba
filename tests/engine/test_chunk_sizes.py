"""Chunks of a stream grow so that each is ready in time, at any pace that keeps up with the music."""

from itertools import accumulate, islice

import pytest

from serve_app.engine.chunk_sizes import chunk_sizes
from serve_app.engine.pace import MOST_SHARE
from serve_app.engine.playback import Playback

FRAME_S = 0.02
TRACK_FRAMES = 6000


def late_chunks(sizes: list[int], step_s: float) -> int:
    """Chunks that a listener waits for, where each is sent with the step that makes its last frame."""
    playback = Playback()
    return sum(
        playback.add(step_s * made, FRAME_S * size)
        for size, made in zip(sizes, accumulate(sizes), strict=True)
    )


@pytest.mark.parametrize("first", [1, 2, 5, 20, 50, 75])
@pytest.mark.parametrize("share", [0.1, 0.39, 0.41, 0.6, 0.9, MOST_SHARE - 1e-9])
def test_no_chunk_is_late_at_a_pace_that_keeps_up(share: float, first: int) -> None:
    sizes = list(islice(chunk_sizes(first, 50), TRACK_FRAMES // 20))
    assert late_chunks(sizes, share * FRAME_S) == 0


def test_equal_chunks_after_a_small_one_are_late() -> None:
    """The reason for the growth: 0.4 s of audio, then 1 s that takes more than 0.4 s to make."""
    assert late_chunks([20] + [50] * 29, 0.0081) == 1
    assert late_chunks([20] + [50] * 29, 0.0079) == 0


def test_chunks_grow_from_the_first_to_the_largest() -> None:
    sizes = list(islice(chunk_sizes(20, 50), 40))
    assert sizes[:5] == [20, 21, 22, 23, 24]
    assert sizes == sorted(sizes)
    assert set(sizes[25:]) == {50}
    assert sum(size < 50 for size in sizes) < 20, "a track of 30 s has few more than equal chunks"


def test_a_first_chunk_that_is_the_larger_one_stays_alone() -> None:
    assert list(islice(chunk_sizes(75, 50), 3)) == [75, 50, 50]
