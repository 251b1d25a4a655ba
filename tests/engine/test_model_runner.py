"""Slots: a sequence's place in cache, history and noise, and a slot after its sequence."""

import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.bucket import bucket
from serve_app.engine.model_runner import BatchShape, ModelRunner, max_positions
from serve_app.models.musicgen.execution import torch_backend
from serve_app.models.musicgen.prefill_rows import CPU_PREFILL_ROWS
from serve_app.types import MAX_SEED, SamplingParams
from tests.engine.fake_gpu import Copies, fake_gpu, moved

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
    runner.prefill(slot)
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
    """The given codes are longer than one block; the continuation equals the whole decoding."""
    whole = decode(runner, 0, NOTHING, FRAMES)
    given = whole[:, : 2 * CPU_PREFILL_ROWS + 20]
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


def test_a_request_makes_no_copy_to_a_gpu_that_it_waits_for(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers go in one copy, beside the codes of an audio prompt. Only `is_finite` waits.

    The numbers go twice: before the prefill, during which its slot is not active, and after it.
    """
    monkeypatch.setattr(ModelRunner, "is_finite", lambda *_: True)
    with fake_gpu():
        model = moved(nano.musicgen)
        runner = ModelRunner(model, torch_backend(model), 2, FRAMES, max_text_tokens=64)
        conditions = model.conditions(None)
        with Copies() as copies:
            runner.start(1, conditions, SamplingParams(seed=MAX_SEED, temperature=0.7))
            runner.open_window(1, torch.zeros(4, 30, dtype=torch.int64), FRAMES)
            runner.prefill(1)
            assert len(copies.launched) == 3, copies.launched
            assert copies.launched[0] == "(4, 30) from cpu to cuda:0"
            runner.step(BatchShape(2, 64, 64))
            runner.stop(1)
        assert copies.waiting == []


def test_nan_in_given_codes_condemns_the_slot_before_its_first_step(runner: ModelRunner) -> None:
    """A request that is cancelled before a step leaves its cache to the next one, too."""
    with torch.inference_mode():
        good = runner.model.conditions(None)
    assert good.cross_attention is not None
    bad = good._replace(
        cross_attention=good.cross_attention._replace(
            values=good.cross_attention.values + torch.nan
        )
    )
    whole = decode(runner, 0, NOTHING, 10)
    runner.start(0, bad, SamplingParams(seed=9))
    runner.open_window(0, whole, FRAMES)
    runner.prefill(0)
    runner.stop(0)
    assert not runner.is_finite(0)
    assert torch.equal(decode(runner, 0, NOTHING, 10), whole)
