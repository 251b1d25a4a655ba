"""Progress: positions in the queue, audio made, and an estimate that counts earlier requests."""

from typing import Any

import pytest
import torch

from serve_app.engine import progress_reporter
from serve_app.engine import throughput as throughput_module
from serve_app.engine.progress_reporter import INTERVAL_S, ProgressReporter
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.throughput import Throughput
from serve_app.engine.window import Window
from serve_app.types import GenerationRequest, Progress
from tests.fakes import Clock


class SteadyThroughput(Throughput):
    """Ten steps a second."""

    def pace_s(self, sequences: int) -> float:
        assert sequences == 1
        return 0.1


def sequence(number: int, sink: Any, progress: bool) -> Sequence:
    request = GenerationRequest(
        request_id=str(number), model="nano", prompt="music", duration_s=1.0, progress=progress
    )
    return Sequence(number, request, [1], torch.zeros(1, 0), [Window(0, 50, 0)], (0,), sink)


def test_progress_goes_to_the_requests_that_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress_reporter, "perf_counter", lambda: now)
    heard: dict[int, list[Any]] = {number: [] for number in range(4)}
    scheduler = Scheduler(max_slots=1)
    for number in range(4):
        scheduler.add_request(sequence(number, heard[number].append, progress=number != 2))
    scheduler.schedule()
    for _ in range(10):
        scheduler.update()
    reporter = ProgressReporter(scheduler, SteadyThroughput(), 50, lambda: 0.5)
    reporter.report()
    assert heard[0] == [Progress(queue_position=0, audio_s=0.2, remaining_s=4.5)]
    assert heard[1] == [Progress(1, 0.0, 9.5)]
    assert heard[2] == [], "it did not ask"
    assert heard[3] == [Progress(3, 0.0, 19.5)]
    reporter.report()
    assert len(heard[0]) == 1, "not so soon"
    now += INTERVAL_S
    reporter.report()
    assert len(heard[0]) == 2


def test_there_is_no_estimate_before_the_first_step() -> None:
    heard: list[Any] = []
    scheduler = Scheduler(max_slots=1)
    scheduler.add_request(sequence(0, heard.append, progress=True))
    ProgressReporter(scheduler, Throughput(), 50, lambda: 0.5).report()
    assert heard == [Progress(1, 0.0, None)]


def test_an_estimate_after_idling_is_that_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the time without requests counted as time of steps."""
    clock = Clock()
    monkeypatch.setattr(progress_reporter, "perf_counter", clock)
    monkeypatch.setattr(throughput_module, "perf_counter", clock)
    throughput = Throughput()
    scheduler = Scheduler(max_slots=1)
    reporter = ProgressReporter(scheduler, throughput, 50, lambda: 0.0)
    estimates: list[float] = []
    for idle_s in (0.0, 10.0, 3600.0):
        throughput.rest()
        clock.now += idle_s
        heard: list[Any] = []
        track = sequence(0, heard.append, progress=True)
        scheduler.add_request(track)
        scheduler.schedule()
        for _ in range(50):
            clock.now += 0.02
            scheduler.update()
            throughput.record_step(1, step_s=0.019)
            reporter.report()
        scheduler.finish(track.sequence_id)
        estimates.append(heard[0].remaining_s)
    assert estimates == pytest.approx([49 * 0.02] * 3, rel=0.5)


def test_the_estimate_counts_a_prefill() -> None:
    """A slice, as long as a step, precedes each step of the other tracks."""
    heard: list[Any] = []
    scheduler = Scheduler(max_slots=1)
    scheduler.add_request(sequence(0, heard.append, progress=True))
    [running] = scheduler.schedule()
    running.prefill_units = 20
    throughput = SteadyThroughput()
    throughput.record_step(1, 0.1)
    throughput.record_prefill(10, 0.5)
    ProgressReporter(scheduler, throughput, 50, lambda: 0.0).report()
    [progress] = heard
    assert progress == Progress(0, 0.0, progress.remaining_s)
    assert progress.remaining_s == pytest.approx(0.1 * (50 + 10))
