"""Progress: positions in the queue, audio made, and an estimate that takes those ahead into account."""

from typing import Any

import pytest
import torch

from serve_app.engine import progress_reporter
from serve_app.engine.progress_reporter import INTERVAL_S, ProgressReporter
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.throughput import Throughput
from serve_app.engine.window import Window
from serve_app.types import GenerationRequest, Progress


class SteadyThroughput(Throughput):
    """Ten steps a second, of one sequence."""

    def rates(self) -> tuple[float, float]:
        return 10.0, 10.0


def sequence(number: int, sink: Any, progress: bool) -> Sequence:
    request = GenerationRequest(
        request_id=str(number), model="nano", prompt="music", duration_s=1.0, progress=progress
    )
    return Sequence(number, request, [1], torch.zeros(1, 0), [Window(0, 50, 0)], (0,), sink)


def test_progress_is_reported_to_requests_that_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress_reporter, "perf_counter", lambda: now)
    heard: dict[int, list[Any]] = {number: [] for number in range(4)}
    scheduler = Scheduler(max_slots=1)
    for number in range(4):
        scheduler.add_request(sequence(number, heard[number].append, progress=number != 2))
    scheduler.schedule()
    for _ in range(10):
        scheduler.update()
    reporter = ProgressReporter(scheduler, SteadyThroughput(), frame_rate=50)
    reporter.report()
    assert heard[0] == [Progress(queue_position=0, audio_s=0.2, remaining_s=4.0)]
    assert heard[1] == [Progress(1, 0.0, 9.0)]
    assert heard[2] == [], "it did not ask"
    assert heard[3] == [Progress(3, 0.0, 19.0)]
    reporter.report()
    assert len(heard[0]) == 1, "not so soon"
    now += INTERVAL_S
    reporter.report()
    assert len(heard[0]) == 2
