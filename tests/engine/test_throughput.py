"""Throughput counts every step, and forgets steps before the rate period."""

import pytest

from serve_app.engine import throughput as module
from serve_app.engine.throughput import RATE_PERIOD_S, Throughput


def test_rates_are_over_the_rate_period(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    throughput = Throughput()
    for _ in range(100):  # 10 a second, of one sequence
        now += 0.1
        throughput.record_step(1, step_s=0.1)
    assert list(throughput.rates()) == pytest.approx([10, 10], rel=0.05)
    for _ in range(round(RATE_PERIOD_S / 0.05)):  # 20 a second, of three
        now += 0.05
        throughput.record_step(3, step_s=0.05)
    assert list(throughput.rates()) == pytest.approx([20, 60], rel=0.05)
    assert throughput.steps_total == 200
    assert throughput.step_s == pytest.approx(0.05, rel=0.02)
