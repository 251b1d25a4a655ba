"""Throughput counts every step, and forgets what is long past."""

import pytest

from serve_app.engine import throughput
from serve_app.engine.throughput import Throughput


def test_rates_are_over_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(throughput, "perf_counter", lambda: now)
    meter = Throughput()
    for _ in range(100):  # 10 a second, of one sequence
        now += 0.1
        meter.record_step(1, step_s=0.1)
    assert list(meter.rates()) == pytest.approx([10, 10], rel=0.05)
    for _ in range(100):  # 20 a second, of three
        now += 0.05
        meter.record_step(3, step_s=0.05)
    assert list(meter.rates()) == pytest.approx([20, 60], rel=0.05)
    assert meter.steps_total == 200
    assert meter.step_s == pytest.approx(0.05, rel=0.02)
