"""Frames of music."""

import pytest

from serve_app.engine.frames import num_frames


@pytest.mark.parametrize(
    ("duration_s", "frames"),
    [(1.0, 50), (0.1 * 3, 15), (0.301, 16), (0.001, 1), (30.0, 1500)],
)
def test_frames_cover_the_duration(duration_s: float, frames: int) -> None:
    assert num_frames(duration_s, 50.0) == frames
