"""Progress reports to the requests that ask for them."""

from collections.abc import Callable, Iterator
from time import perf_counter

from serve_app.engine.forecast import ends_s
from serve_app.engine.scheduler import Scheduler
from serve_app.engine.sequence import Sequence
from serve_app.engine.throughput import Throughput
from serve_app.types import Progress

INTERVAL_S = 0.25


class ProgressReporter:
    """Sends Progress to the sinks of waiting and running sequences, at most every INTERVAL_S.

    final_s: returns the seconds from a track's last step to its last audio.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        throughput: Throughput,
        frame_rate: float,
        final_s: Callable[[], float],
    ) -> None:
        self._final_s = final_s
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
        """Yield every sequence's progress."""
        running = list(self._scheduler.running.values())
        waiting = self._scheduler.in_order
        ends = iter(self._ends_s(running, waiting))
        for sequence in running:
            audio_s = sequence.frames_complete / self._frame_rate
            yield sequence, Progress(0, audio_s, next(ends, None))
        for position, sequence in enumerate(waiting, 1):
            yield sequence, Progress(position, 0.0, next(ends, None))

    def _ends_s(self, running: list[Sequence], waiting: list[Sequence]) -> list[float]:
        """Seconds until each sequence ends; empty before the engine's first step."""
        if self._throughput.pace_s(1) is None:
            return []
        ends = ends_s(
            [self._steps_left(sequence) for sequence in running],
            [sequence.frames_left for sequence in waiting],
            self._scheduler.slots_in_force,
            lambda sequences: self._throughput.pace_s(sequences) or 0.0,
        )
        return [end + self._final_s() for end in ends]

    def _steps_left(self, sequence: Sequence) -> int:
        """Steps of the batch until a running sequence ends: a slice of its prefill precedes each."""
        return sequence.frames_left + self._throughput.prefill_steps(sequence.prefill_units)
