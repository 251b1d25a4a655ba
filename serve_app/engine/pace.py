"""The music's pace: how many sequences a batch may have for its streams to be played without a pause."""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Batch

import numpy as np

from serve_app.engine.delay import num_steps
from serve_app.engine.sequence import Sequence

MOST_SHARE = 0.95  # of the time that a frame is played, that its step may take
_DECAY = 0.999  # of a step's weight with each later step
_LEAST_SPREAD = np.array([0.3, 75.0])  # of sequences and positions; less of it teaches little


class StepTimes:
    """Predicts the seconds from step to step, linear in the batch's sequences and cached positions.

    A step reads the weights once, and each cached position. Fitted by exponentially weighted least
    squares; a slope is small until its quantity has varied, but never below its bound.

    position_s: least seconds of a cached position, by the memory's bandwidth. Batches that have not
    been seen yet are predicted by it: a lone track's attention waits for other things than memory.
    """

    def __init__(self, position_s: float = 0.0) -> None:
        self._least = np.array([0.0, position_s])
        self._weight = 0.0
        self._mean = np.zeros(3)  # sequences, positions, seconds
        self._covariance = np.zeros((3, 3))

    def record(self, sequences: int, positions: int, step_s: float) -> None:
        """Record a step of so many sequences with so many cached positions together."""
        self._weight = _DECAY * self._weight + 1
        part = 1 / self._weight
        distance = np.array([sequences, positions, step_s]) - self._mean
        self._mean += part * distance
        self._covariance = (1 - part) * (self._covariance + part * np.outer(distance, distance))

    def expected_s(self, sequences: int, positions: int) -> float | None:
        """Return the predicted seconds; None before the first step."""
        if not self._weight:
            return None
        spread = self._covariance[:2, :2] + np.diag(_LEAST_SPREAD**2)
        slopes = np.linalg.solve(spread, self._covariance[:2, 2])
        slopes = np.maximum(slopes, self._least)
        distance = np.array([sequences, positions]) - self._mean[:2]
        return float(self._mean[2] + slopes @ distance)


class StreamPace:
    """Decides whether a batch keeps up with the music that is made in it.

    expected_s: predicts seconds from step to step, of sequences and cached positions.
    """

    def __init__(self, expected_s: Callable[[int, int], float | None], frame_rate: float) -> None:
        self._expected_s = expected_s
        self._frame_s = 1 / frame_rate

    def allows(self, batch: Batch[Sequence]) -> bool:
        """Return whether the last sequence may join the others.

        It may if nobody listens to a track in the making, if a step is expected to be faster than
        its frame is played even when the contexts are longest, or if that is impossible for one
        sequence alone.
        """
        if not any(sequence.request.streamed for sequence in batch):
            return True
        return self._keeps_up(batch) or not self._keeps_up(batch[-1:])

    def _keeps_up(self, batch: Batch[Sequence]) -> bool:
        expected_s = self._expected_s(len(batch), peak_positions(batch))
        return expected_s is None or expected_s <= MOST_SHARE * self._frame_s


def peak_positions(batch: Iterable[Sequence]) -> int:
    """Return the most positions that the sequences have cached together at any time to come.

    Each step adds a position to every sequence, up to a full window, until the sequence ends.
    """
    left = [
        (sequence.frames_left, sequence.positions, _most_positions(sequence)) for sequence in batch
    ]
    return max(
        sum(min(now + steps, most) for ends, now, most in left if ends >= steps)
        for steps, _, _ in left
    )


def _most_positions(sequence: Sequence) -> int:
    longest = max(window.num_frames for window in sequence.windows)
    return sequence.prefix_positions + num_steps(longest, sequence.delays)
