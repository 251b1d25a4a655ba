"""The sliding window covers a track once."""

import pytest

from serve_app.engine.window import Window, windows


def test_a_short_track_has_one_window() -> None:
    assert windows(1500, longest=1500, stride=900, prefix_frames=0) == [Window(0, 1500, 0)]
    assert windows(10, longest=1500, stride=900, prefix_frames=4) == [Window(0, 10, 4)]


def test_45_seconds_have_two() -> None:
    assert windows(2250, longest=1500, stride=900, prefix_frames=100) == [
        Window(0, 1500, 100),
        Window(900, 2250, 600),
    ]


@pytest.mark.parametrize("stride", [1, 7, 19])
@pytest.mark.parametrize("num_frames", [20, 21, 97])
def test_each_frame_is_made_once(num_frames: int, stride: int) -> None:
    prefix_frames = 5
    made = [
        frame
        for w in windows(num_frames, 20, stride, prefix_frames)
        for frame in range(w.start + w.prefix_frames, w.end)
    ]
    assert made == list(range(prefix_frames, num_frames))
