"""Throughput of an engine: steps and frames over the last few seconds."""

from collections import deque
from time import perf_counter

RATE_PERIOD_S = 5.0
_SMOOTHING = 0.05  # EMA weight of the newest sample


class Throughput:
    """Counts steps and the frames that they made. Rates are over the last RATE_PERIOD_S.

    step_s: seconds of a step, idle time excluded; mean_audio_s: seconds of a requested track. Both
    are exponential moving averages, 0 before the first sample.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque([(perf_counter(), 0, 0)])
        self.step_s = 0.0
        self.mean_audio_s = 0.0

    @property
    def steps_total(self) -> int:
        return self._marks[-1][1]

    def record_step(self, sequences: int, step_s: float) -> None:
        """Record a step of so many sequences, which took `step_s` seconds."""
        self.step_s = _smooth(self.step_s, step_s)
        now = perf_counter()
        _, steps, frames = self._marks[-1]
        self._marks.append((now, steps + 1, frames + sequences))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_PERIOD_S:
            self._marks.popleft()

    def record_request(self, audio_s: float) -> None:
        """Record a request for a track of `audio_s` seconds."""
        self.mean_audio_s = _smooth(self.mean_audio_s, audio_s)

    def seconds_for(self, frames: int) -> float | None:
        """Return the seconds of so many frames at the present rate; None while nothing runs."""
        _, rate = self.rates()
        return frames / rate if rate > 0 else None

    def rates(self) -> tuple[float, float]:
        """Return the steps and the frames per second."""
        started_at, first_steps, first_frames = self._marks[0]
        _, steps, frames = self._marks[-1]
        elapsed = max(perf_counter() - started_at, 1e-6)
        return (steps - first_steps) / elapsed, (frames - first_frames) / elapsed


def _smooth(mean: float, value: float) -> float:
    return mean + (value - mean) * _SMOOTHING if mean else value
