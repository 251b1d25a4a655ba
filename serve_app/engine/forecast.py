"""Forecast of when sequences end, by playing the scheduler's rule forward."""

import heapq
from collections.abc import Callable, Sequence


def ends_s(
    running: Sequence[int],
    waiting: Sequence[int],
    slots: int,
    pace_s: Callable[[int], float],
) -> list[float]:
    """Return the seconds until each sequence ends, first the running ones, then the waiting ones.

    running, waiting: frames left, the waiting ones in their order; slots: at least the running
    ones; pace_s: seconds from step to step of a batch of so many sequences. A step makes one frame
    of each running sequence; an end frees a slot for the sequence that has waited longest.
    """
    left = [*running, *waiting]
    ends = [0.0] * len(left)
    batch = [(left[index], index) for index in range(min(slots, len(left)))]
    heapq.heapify(batch)
    following = len(batch)
    steps = 0
    elapsed_s = 0.0
    while batch:
        end, index = batch[0]
        elapsed_s += (end - steps) * pace_s(len(batch))
        steps = end
        ends[index] = elapsed_s
        if following < len(left):
            heapq.heapreplace(batch, (steps + left[following], following))
            following += 1
        else:
            heapq.heappop(batch)
    return ends
