"""Progress reports to the requests that ask for them."""

from collections.abc import Iterator
from time import perf_counter

from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.throughput import Throughput
from serve_app.types import Progress

INTERVAL_S = 0.25


class ProgressReporter:
    """Sends Progress to the sinks of waiting and running sequences, at most every INTERVAL_S."""

    def __init__(self, scheduler: Scheduler, throughput: Throughput, frame_rate: float) -> None:
        self._scheduler = scheduler
        self._throughput = throughput
        self._frame_rate = frame_rate
        self._reported_at = 0.0

    def report(self) -> None:
        """Report if the last report is INTERVAL_S ago. Call after every step."""
        now = perf_counter()
        if now - self._reported_at < INTERVAL_S:
            return
        self._reported_at = now
        for sequence, progress in self._all():
            if sequence.request.progress:
                sequence.sink(progress)

    def _all(self) -> Iterator[tuple[Sequence, Progress]]:
        """Yield every sequence's progress.

        Running sequences advance together, by a frame each in a step; waiting ones come after all
        before them.
        """
        steps_per_s, _ = self._throughput.rates()
        ahead = 0
        for sequence in self._scheduler.running.values():
            left = sequence.frames_left
            ahead += left
            remaining_s = left / steps_per_s if steps_per_s > 0 else None
            yield sequence, Progress(0, sequence.frames_complete / self._frame_rate, remaining_s)
        for position, sequence in enumerate(self._scheduler.waiting.values(), 1):
            ahead += sequence.frames_left
            yield sequence, Progress(position, 0.0, self._throughput.seconds_for(ahead))
