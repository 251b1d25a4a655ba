"""Throughput counts every step, and forgets steps before the rate period."""

import pytest

from serve_app.engine import throughput as module
from serve_app.engine.throughput import RATE_PERIOD_S, Throughput
from tests.fakes import Clock


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


def step(throughput: Throughput, clock: Clock, sequences: int, pace_s: float) -> None:
    """Make many steps, of which half the time lies between them."""
    for _ in range(200):
        clock.now += pace_s
        throughput.record_step(sequences, step_s=pace_s / 2)


def test_the_pace_holds_the_time_between_steps_but_no_rest(clock: Clock) -> None:
    throughput = Throughput()
    assert throughput.pace_s(1) is None
    for _ in range(3):
        throughput.rest()
        clock.now += 1000.0
        step(throughput, clock, 1, 0.01)
    assert throughput.pace_s(1) == pytest.approx(0.01, rel=0.05)
    assert throughput.step_s == pytest.approx(0.005)
    clock.now += 1.0  # a window slides
    throughput.record_step(1, step_s=0.005)
    assert throughput.pace_s(1) == pytest.approx(0.01, rel=0.1)


def test_the_pace_depends_on_the_batch(clock: Clock) -> None:
    throughput = Throughput()
    step(throughput, clock, 1, 0.01)
    assert throughput.pace_s(2) == pytest.approx(0.014, rel=0.05), "between 0.01 and 0.02"
    assert throughput.pace_s(16) == pytest.approx(0.02, rel=0.05)
    step(throughput, clock, 5, 0.03)
    assert throughput.pace_s(3) == pytest.approx(0.02, rel=0.05)
    assert throughput.pace_s(1) == pytest.approx(0.01, rel=0.05)
    assert throughput.pace_s(10) == pytest.approx(0.042, rel=0.05)


def test_steps_beside_a_prefill_teach_no_pace(clock: Clock) -> None:
    """A GPU does them after slices of the prefill. They count as steps, nevertheless."""
    throughput = Throughput()
    for _ in range(50):
        clock.now += 0.02
        throughput.record_step(1, 0.02, 100)
    for _ in range(10):
        throughput.record_prefill(2, 0.02)
        clock.now += 0.04
        throughput.record_step(1, 0.001, 100)
    assert throughput.step_s == pytest.approx(0.02)
    assert throughput.pace_s(1) == pytest.approx(0.02)
    assert throughput.expected_s(1, 100) == pytest.approx(0.02)
    assert throughput.steps_total == 60
    for _ in range(3 + 200):
        clock.now += 0.03
        throughput.record_step(1, 0.03, 100)
    assert throughput.step_s == pytest.approx(0.03, rel=0.01), "learned again after three steps"


def test_a_prefill_takes_a_slice_beside_each_step() -> None:
    throughput = Throughput()
    assert throughput.prefill_steps(100) == 0, "nothing is known"
    throughput.record_step(1, 0.02)
    throughput.record_prefill(10, 0.05)
    assert throughput.prefill_steps(0) == 0
    assert throughput.prefill_steps(100) == 25
