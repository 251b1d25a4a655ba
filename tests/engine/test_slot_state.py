"""The slots' tensors: sampling parameters come from their one table."""

import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.slot_state import Place, SlotState, empty_state
from serve_app.types import MAX_SEED, SamplingParams


def state(nano: Checkpoint) -> SlotState:
    return empty_state(nano.musicgen.config, 4, 20, torch.device("cpu"))


def test_each_parameter_has_a_tensor_of_its_kind(nano: Checkpoint) -> None:
    sampling = state(nano).sampling
    assert set(sampling) == set(SamplingParams.model_fields)
    for name, value in SamplingParams().model_dump().items():
        expected = torch.float32 if isinstance(value, float) else torch.int64
        assert sampling[name].dtype == expected, name


def test_parameters_are_set_for_one_slot(nano: Checkpoint) -> None:
    slots = state(nano)
    parameters = SamplingParams(seed=MAX_SEED, temperature=0.5, top_k=7)
    slots.write(2, Place(), parameters)
    assert slots.sampling["seed"].tolist() == [0, 0, MAX_SEED, 0]
    assert slots.sampling["temperature"].tolist() == [0, 0, 0.5, 0]
    assert slots.sampling["cfg_coef"].tolist() == [0, 0, 3, 0]


def test_narrowing_gives_views(nano: Checkpoint) -> None:
    slots = state(nano)
    first = slots.narrow(2)
    first.steps.add_(5)
    first.sampling["top_k"].fill_(3)
    assert slots.steps.tolist() == [5, 5, 0, 0]
    assert slots.sampling["top_k"].tolist() == [3, 3, 0, 0]
    assert first.history.shape == (2, 4, 20)


def test_a_place_and_parameters_are_written_together(nano: Checkpoint) -> None:
    slots = state(nano)
    slots.write(1, Place(steps=3, prefix=4, first_frame=900, active=1), SamplingParams(top_p=0.1))
    rows = (slots.steps, slots.prefix, slots.first_frame, slots.active)
    assert [row[1].item() for row in rows] == [3, 4, 900, 1]
    assert slots.sampling["top_p"].tolist() == torch.tensor([0, 0.1, 0, 0]).tolist(), "as fp32"
    slots.write(1, Place(), SamplingParams(top_p=0.1))
    assert not any(row.any() for row in rows)
