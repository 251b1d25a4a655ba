"""Fine-tunes are refused, with the numbers, where they do not fit; free memory goes back to the system."""

from pathlib import Path

import psutil
import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine import memory_budget
from serve_app.engine.memory import slot_bytes
from serve_app.engine.memory_budget import check_fine_tunes, return_free_memory
from serve_app.errors import ConfigError

SLOTS, FRAMES = 3, 100
CONFIG = EngineConfig()


def test_the_least_memory_is_what_all_of_them_take(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nano.musicgen
    caches = SLOTS * slot_bytes(model, FRAMES, CONFIG.max_prompt_tokens)
    needed = 2 * (4 * model.num_parameters + caches) + caches
    monkeypatch.setattr(memory_budget, "_free_memory", lambda: needed)
    check_fine_tunes(model, CONFIG, "fp32", SLOTS, FRAMES, fine_tunes=2)
    with pytest.raises(ConfigError, match=r"3 fine-tunes in memory .*max_resident"):
        check_fine_tunes(model, CONFIG, "fp32", SLOTS, FRAMES, fine_tunes=3)
    with pytest.raises(ConfigError):  # one at a time is in fp32 before it is narrowed
        check_fine_tunes(model, CONFIG, "fp16", 4 * SLOTS, FRAMES, fine_tunes=2)


def test_a_containers_limit_is_the_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory_budget, "_CGROUP", tmp_path)
    assert memory_budget._free_memory() > 2**20
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory_budget._free_memory() == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_budget._free_memory() > 2**20


def test_memory_of_freed_tensors_goes_back_to_the_system() -> None:
    """Tensors below the C library's threshold for pages of their own, with one that stays on top."""
    process = psutil.Process()
    tensors = [torch.ones(2**14) for _ in range(800)]
    held = process.memory_info().rss
    last = tensors[-1]
    del tensors
    return_free_memory()
    assert process.memory_info().rss < held - 25 * 2**20
    assert last.sum() == 2**14
