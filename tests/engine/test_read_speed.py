"""The memory's bandwidth bounds how fast a step reads its cached positions."""

from collections.abc import Iterator
from typing import Literal

import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine import read_speed
from serve_app.engine.memory import position_bytes
from serve_app.engine.read_speed import ATTENTION_SHARE, position_read_s, read_bandwidth
from tests.engine.fake_gpu import fake_gpu, moved

MIB = 2**20


def test_a_cpus_memory_is_not_measured(nano: Checkpoint) -> None:
    assert position_read_s(nano.musicgen, EngineConfig()) == 0


@pytest.mark.parametrize("kv_cache", ["auto", "int8"])
def test_a_position_is_read_at_the_bandwidth(
    kv_cache: Literal["auto", "int8"], nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_speed, "read_bandwidth", lambda _: 1e12)
    config = EngineConfig(kv_cache=kv_cache)
    with fake_gpu():
        model = moved(nano.musicgen)
        both_rows = 2 * position_bytes(model, kv_cache == "int8")
        assert position_read_s(model, config) == pytest.approx(both_rows / 1e12 / ATTENTION_SHARE)


@pytest.mark.parametrize(("free", "nbytes"), [(8 << 30, 512 * MIB), (64 * MIB, 16 * MIB)])
def test_the_best_of_several_sums_counts(
    free: int, nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 5, 4, 2 and more milliseconds, over no more than a quarter of the free memory."""
    took_ms: Iterator[float] = iter([5.0, 4.0, 2.0, *[3.0] * 7])

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            pass

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, _: object) -> float:
            return next(took_ms)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 16 << 30))
    assert read_bandwidth(torch.device("meta")) == pytest.approx(nbytes / 2e-3)
