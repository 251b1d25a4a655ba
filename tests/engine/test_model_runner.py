"""Slots: a sequence's place in cache, history and noise, and a slot after its sequence."""

import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.model_runner import PREFILL, BatchShape, ModelRunner, bucket, max_positions
from serve_app.models.musicgen.execution import torch_backend
from serve_app.types import SamplingParams

FRAMES = 300


@pytest.fixture
def runner(nano: Checkpoint) -> ModelRunner:
    return ModelRunner(nano.musicgen, torch_backend(nano.musicgen), 2, FRAMES, max_text_tokens=64)


def decode(
    runner: ModelRunner, slot: int, given: Tensor, frames: int, first_frame: int = 0
) -> Tensor:
    """Sampled codes [K, frames] of a window that begins with the codes `given`."""
    with torch.inference_mode():
        conditions = runner.model.conditions(None)
    runner.start(slot, conditions, SamplingParams(seed=9))
    done = runner.open_window(slot, given, frames, first_frame)
    for step in range(done, frames + 3):
        runner.step(BatchShape(slot + 1, bucket(step + 1), 64))
    codes = runner.codes(slot, 0, frames)
    runner.stop(slot)
    return codes


NOTHING = torch.zeros(4, 0, dtype=torch.int64)


def test_lengths_are_whole_buckets(nano: Checkpoint, runner: ModelRunner) -> None:
    assert [bucket(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]
    assert runner.max_length == max_positions(nano.musicgen, FRAMES, 64) == 320


def test_given_codes_are_kept_and_continued_as_drawn_codes(runner: ModelRunner) -> None:
    """The given codes are longer than one prefill; the continuation equals the whole decoding."""
    whole = decode(runner, 0, NOTHING, FRAMES)
    given = whole[:, : PREFILL + 20]
    assert torch.equal(decode(runner, 1, given, FRAMES), whole)


def test_noise_follows_the_tracks_frames(runner: ModelRunner) -> None:
    """Two windows of the same track draw different codes, although only the first frame differs."""
    first, again, later = (decode(runner, 0, NOTHING, 20, frame) for frame in (0, 0, 20))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_a_stopped_slot_stays_where_it_is(runner: ModelRunner) -> None:
    decode(runner, 0, NOTHING, 5)
    runner.step(BatchShape(2, 64, 64))
    assert runner._state.steps.tolist() == [0, 0]
    assert runner._state.active.tolist() == [0, 0]
