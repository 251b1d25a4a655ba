"""Throughput of an engine: steps and frames over the last few seconds, and the time of a step."""

import math
from bisect import bisect_left
from collections import deque
from time import perf_counter

from serve_app.engine.pace import StepTimes

RATE_PERIOD_S = 5.0
_SMOOTHING = 0.05  # EMA weight of the newest sample
_MOST_CHANGE = 2.0  # of one sample of the pace: a window that slides or a hiccup is no slow step
_MOST_SCALING = 2.0  # of the pace, to a batch size that has not been seen
_DISTURBED = 3  # steps after a slice of a prefill: a GPU works on several at a time


class Throughput:
    """Counts steps and the frames that they made. Rates are over the last RATE_PERIOD_S.

    step_s: seconds of a step, idle time excluded; mean_audio_s: seconds of a requested track. Both
    are exponential moving averages, 0 before the first sample.
    position_s: see StepTimes.
    """

    def __init__(self, position_s: float = 0.0) -> None:
        self._marks: deque[tuple[float, int, int]] = deque([(perf_counter(), 0, 0)])
        self._resting = True
        self._paces: dict[int, float] = {}  # by the number of sequences
        self._step_times = StepTimes(position_s)
        self._disturbed = 0  # steps that are left
        self._unit_s = 0.0
        self.step_s = 0.0
        self.mean_audio_s = 0.0

    @property
    def steps_total(self) -> int:
        return self._marks[-1][1]

    def record_step(self, sequences: int, step_s: float, positions: int = 0) -> None:
        """Record a step of so many sequences, which took `step_s` seconds.

        positions: cached by the sequences together.
        """
        now = perf_counter()
        last, steps, frames = self._marks[-1]
        if self._disturbed:
            self._disturbed -= 1
        else:
            self.step_s = _smooth(self.step_s, step_s)
            pace_s = step_s if self._resting else max(step_s, now - last)
            self._step_times.record(sequences, positions, self._record_pace(sequences, pace_s))
        self._resting = False
        self._marks.append((now, steps + 1, frames + sequences))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_PERIOD_S:
            self._marks.popleft()

    def rest(self) -> None:
        """Record that the engine waits for a request: the time until the next step is no step's."""
        self._resting = True

    def record_prefill(self, units: int, elapsed_s: float) -> None:
        """Record a slice of a prefill. The times of the next steps are not those of steps alone."""
        self._disturbed = _DISTURBED
        self._unit_s = _smooth(self._unit_s, elapsed_s / units)

    def prefill_steps(self, units: int) -> int:
        """Estimate the steps that go on during the rest of a prefill; 0 before the first of them."""
        return math.ceil(units * self._unit_s / self.step_s) if self.step_s else 0

    def record_request(self, audio_s: float) -> None:
        """Record a request for a track of `audio_s` seconds."""
        self.mean_audio_s = _smooth(self.mean_audio_s, audio_s)

    def pace_s(self, sequences: int) -> float | None:
        """Estimate the seconds from step to step of a batch of so many; None before the first step.

        Between two batch sizes that have been seen the estimate is linear. Beyond them it is the
        geometric mean of its bounds: a step of memory-bound work takes as long for more sequences,
        one of compute-bound work longer in proportion.
        """
        if not self._paces:
            return None
        seen = sorted(self._paces)
        index = bisect_left(seen, sequences)
        if 0 < index < len(seen):
            low, high = seen[index - 1], seen[index]
            part = (sequences - low) / (high - low)
            return self._paces[low] + part * (self._paces[high] - self._paces[low])
        nearest = seen[0] if index == 0 else seen[-1]
        scaling = math.sqrt(sequences / nearest)
        return self._paces[nearest] * min(max(scaling, 1 / _MOST_SCALING), _MOST_SCALING)

    def expected_s(self, sequences: int, positions: int) -> float | None:
        """Predict the seconds from step to step by the cached positions; None before the first step."""
        return self._step_times.expected_s(sequences, positions)

    def rates(self) -> tuple[float, float]:
        """Return the steps and the frames per second."""
        started_at, first_steps, first_frames = self._marks[0]
        _, steps, frames = self._marks[-1]
        elapsed = max(perf_counter() - started_at, 1e-6)
        return (steps - first_steps) / elapsed, (frames - first_frames) / elapsed

    def _record_pace(self, sequences: int, pace_s: float) -> float:
        """Record a pace, and return it without a hiccup."""
        before = self._paces.get(sequences, 0.0)
        if before:
            pace_s = min(pace_s, _MOST_CHANGE * before)
        self._paces[sequences] = _smooth(before, pace_s)
        return pace_s


def _smooth(mean: float, value: float) -> float:
    return mean + (value - mean) * _SMOOTHING if mean else value
