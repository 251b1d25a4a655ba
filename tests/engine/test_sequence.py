"""A sequence's progress through its windows, and its times."""

import pytest
import torch

from serve_app.engine.sequence import Sequence
from serve_app.engine.window import Window
from serve_app.types import GenerationRequest


@pytest.fixture
def sequence() -> Sequence:
    request = GenerationRequest(request_id="1", model="nano", prompt="music", duration_s=1.0)
    windows = [Window(0, 20, 5), Window(12, 30, 8)]
    return Sequence(
        1, request, [1], torch.zeros(4, 5), windows, (0, 1, 2, 3), lambda _: None, arrived_at=10.0
    )


def test_frames_count_from_the_tracks_beginning(sequence: Sequence) -> None:
    assert (sequence.num_frames, sequence.frames_left) == (30, 25), "five have codes already"
    sequence.steps = 23
    assert (sequence.frames_complete, sequence.window_finished) == (20, True)
    assert not sequence.finished, "a window follows"
    sequence.windows.pop(0)
    sequence.steps = 8
    assert (sequence.frames_complete, sequence.frames_left) == (17, 10)
    sequence.steps = 21
    assert sequence.finished
    assert sequence.frames_left == 0


def test_positions_count_from_the_prefixs_start(sequence: Sequence) -> None:
    sequence.steps = 7
    assert sequence.positions == 7
    sequence.prefix_positions = 240
    assert sequence.positions == 247


def test_timings_are_measured_from_arrival_and_start(sequence: Sequence) -> None:
    sequence.started_at = 12.0
    sequence.record_step(0.4, share_s=0.1)
    sequence.record_step(0.2, share_s=0.2)
    timings = sequence.timings(codec_s=0.5, first_audio_at=13.0, ended_at=16.0)
    assert (timings.queue_s, timings.time_to_first_audio_s, timings.generation_s) == (2, 3, 4)
    assert timings.compute_s == pytest.approx(0.3)
    assert (timings.first_step_s, timings.codec_s) == (0.4, 0.5)
