"""Threads of a team work on every part once, phase after phase, however many threads there are."""

import threading

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.kernels.cpu.team import Shared, begin, gather, join, peek, proceed, wait

PHASES = 200
PATIENCE_S = 300  # more threads than cores, on a busy machine


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def work(shared: Shared, done: NDArray[np.int64]) -> bool:
    """Count each part in done [PHASES, parts] -> whether each phase found the one before done."""
    team = join(shared)
    parts = done.shape[1]
    in_order = True
    for phase in range(PHASES):
        announced = peek(team, parts)
        wait(team)
        if phase:
            in_order &= (done[phase - 1] == 1).all()
        part = begin(team, parts)
        in_order &= part == announced
        while part >= 0:
            done[phase, part] += 1
            part = proceed(team, parts)
    wait(team)
    return in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_phases_follow_each_other(threads: int, parts: int) -> None:
    """More threads than cores, so that some wait for a thread that has no core."""
    shared = gather(threads)
    done = np.zeros((PHASES, parts), np.int64)
    in_order = []
    team = [
        threading.Thread(target=lambda: in_order.append(work(shared, done))) for _ in range(threads)
    ]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(timeout=PATIENCE_S)
    assert in_order == [True] * threads
    assert (done == 1).all()


def test_threads_that_come_one_after_another_finish() -> None:
    shared = gather(3)
    done = np.zeros((PHASES, 4), np.int64)
    assert [work(shared, done) for _ in range(3)] == [True] * 3
    assert (done == 1).all()
