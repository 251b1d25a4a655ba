"""Slots: the bytes of one slot, and the slots that fit."""

import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import MOST_SLOTS, EngineConfig
from serve_app.engine.memory import CPU_SLOTS, RESERVED, default_slots, fitting_slots, slot_bytes
from serve_app.engine.model_runner import ModelRunner
from serve_app.models.musicgen.execution import torch_backend


@pytest.mark.parametrize(
    ("free", "slots"),
    [(RESERVED + 10, 10), (RESERVED + 19, 19), (2**50, MOST_SLOTS), (0, 1), (RESERVED + 1, 1)],
)
def test_slots_fill_the_free_memory(free: int, slots: int) -> None:
    assert fitting_slots(free, 1) == slots


def test_a_slots_bytes_equal_the_runners_allocation(nano: Checkpoint) -> None:
    backend = torch_backend(nano.musicgen)
    runner = ModelRunner(nano.musicgen, backend, 3, max_frames=300, max_text_tokens=100)
    assert runner._texts is not None
    allocated = runner.kv_cache_bytes + runner._texts.nbytes
    assert slot_bytes(nano.musicgen, 300, 100) == allocated / 3


def test_a_cpu_has_its_own_default(nano: Checkpoint) -> None:
    assert nano.musicgen.embedding.weight.device == torch.device("cpu")
    assert default_slots(nano.musicgen, EngineConfig(), 300) == CPU_SLOTS
