"""The batch's shape covers its sequences, and windows slide with the codes of the last."""

import copy
from dataclasses import replace

import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.batch import Batch
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.model_runner import BatchShape
from serve_app.engine.sequence import Sequence
from serve_app.engine.window import Window
from serve_app.models.musicgen.cpu_backend import CpuBackend
from serve_app.models.musicgen.execution import ExecutionBackend, torch_backend
from serve_app.types import GenerationRequest, SamplingParams

NOTHING = torch.zeros(4, 0, dtype=torch.int64)


@pytest.fixture
def conditioner(nano: Checkpoint) -> Conditioner:
    return Conditioner(nano.text_encoder, nano.musicgen, max_tokens=80, cache_size=2)


def new_batch(
    nano: Checkpoint,
    conditioner: Conditioner,
    pinned: bool = False,
    backend: ExecutionBackend | None = None,
) -> Batch:
    backend = backend or torch_backend(nano.musicgen)
    config = EngineConfig(pin_batch_shape=pinned)
    return Batch(nano.musicgen, backend, config, conditioner, slots=3, window_frames=70)


def new_sequence(
    conditioner: Conditioner, slot: int, windows: list[Window], cfg_coef: float = 1.0
) -> Sequence:
    sampling = SamplingParams(seed=slot, cfg_coef=cfg_coef)
    request = GenerationRequest(
        request_id="1", model="nano", prompt="music", duration_s=1.0, sampling=sampling
    )
    sequence = Sequence(slot, request, [5], NOTHING, windows, (0, 1, 2, 3), lambda _: None)
    sequence.slot = slot
    sequence.text = conditioner.encode_here([5])
    return sequence


def test_the_shape_covers_all_sequences(nano: Checkpoint, conditioner: Conditioner) -> None:
    batch = new_batch(nano, conditioner)
    one = new_sequence(conditioner, 0, [Window(0, 70, 0)])
    other = new_sequence(conditioner, 1, [Window(0, 70, 0)], cfg_coef=2.0)
    assert batch._shape(1, [one]) == BatchShape(1, 64, 64, guided=False)
    other.steps = 64
    other.prompt_tokens = [5] * 70
    assert batch._shape(2, [one, other]) == BatchShape(2, 128, 128, guided=True)


def test_a_pinned_shape_is_padded_unless_the_backend_is_invariant(
    nano: Checkpoint, conditioner: Conditioner
) -> None:
    one = [new_sequence(conditioner, 0, [Window(0, 70, 0)])]
    pinned = new_batch(nano, conditioner, pinned=True)
    assert pinned._shape(1, one) == BatchShape(1, 64, 64, guided=True, padded_slots=3)
    backend = CpuBackend("fp16")
    prepared = replace(nano, musicgen=copy.deepcopy(nano.musicgen))
    backend.prepare(prepared.musicgen)
    invariant = new_batch(prepared, conditioner, pinned=True, backend=backend)
    assert invariant._shape(1, one) == BatchShape(1, 64, 64, guided=True, padded_slots=0)


def test_a_window_slides_over_its_end(nano: Checkpoint, conditioner: Conditioner) -> None:
    batch = new_batch(nano, conditioner)
    sequence = new_sequence(conditioner, 0, [Window(0, 10, 0), Window(6, 16, 4)])
    batch.start(sequence)
    assert sequence.compute_s > 0, "its start is its own"
    while not sequence.window_finished:
        batch.step(1, [sequence])
        sequence.steps += 1
    first = batch.codes(sequence, range(10))
    assert first is not None
    batch.slide(sequence)
    assert (sequence.window, sequence.steps) == (Window(6, 16, 4), 4)
    assert sequence.prefill_units == nano.musicgen.config.transformer.num_layers
    batch.prefill(sequence, budget_s=0.0)
    assert sequence.prefill_units == nano.musicgen.config.transformer.num_layers - 1
    batch.prefill(sequence, budget_s=None)
    assert sequence.prefill_units == 0
    while not sequence.finished:
        batch.step(1, [sequence])
        sequence.steps += 1
    second = batch.codes(sequence, range(6, 16))
    assert second is not None
    assert torch.equal(second[:, :4], first[:, 6:])


def test_output_that_is_not_finite_is_no_codes(nano: Checkpoint, conditioner: Conditioner) -> None:
    batch = new_batch(nano, conditioner)
    sequence = new_sequence(conditioner, 0, [Window(0, 10, 0)])
    batch.start(sequence)
    batch.runner._state.finite[0] = False
    assert batch.codes(sequence, range(0)) is None


def test_a_waiting_sequence_has_no_slot(nano: Checkpoint, conditioner: Conditioner) -> None:
    batch = new_batch(nano, conditioner)
    sequence = new_sequence(conditioner, 0, [Window(0, 10, 0)])
    sequence.slot = None
    with pytest.raises(RuntimeError, match="sequence 0 has no slot"):
        batch.stop(sequence)
