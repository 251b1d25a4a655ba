"""Threads that run a sequence of phases together, without a parallel region for each.

A phase is a number of parts. Threads draw tickets, which count the parts of all phases in order,
and wait for the end of all earlier phases before they begin one. A thread only ever waits for
parts that other threads work at: any number of threads finishes, even one after another. Every
thread goes through the same phases:

    wait(team)
    part = begin(team, parts)
    while part >= 0:
        ...
        part = proceed(team, parts)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.atomics import fetch, fetch_add, pause, sched_yield
from serve_app.kernels.cpu.compilation import SERIAL

Shared = NDArray[np.int64]
Team = tuple[Shared, NDArray[np.int64]]  # what the threads share, and what one has of its own

_SHARED = 24  # numbers of Shared; those in use lie in different cache lines
_THREADS = 0
_DRAWN = 8  # tickets
_DONE = 16  # parts
_TICKET = 0  # that this thread holds
_START = 1  # ticket of the phase's first part
_FINISHED = 2  # parts of the phase that this thread has done
_SPINS = 2000  # before a waiting thread offers its core to others


@SERIAL  # type: ignore[untyped-decorator]
def gather(threads: int) -> Any:
    """Return what a new team of at most `threads` threads shares."""
    shared = np.zeros(_SHARED, np.int64)
    shared[_THREADS] = threads
    return shared


@SERIAL  # type: ignore[untyped-decorator]
def join(shared: Shared) -> Any:
    """Return the team as one more thread sees it."""
    mine = np.zeros(3, np.int64)
    mine[_TICKET] = fetch_add(shared, _DRAWN, 1)
    return shared, mine


@SERIAL  # type: ignore[untyped-decorator]
def size(team: Team) -> Any:
    """Return the number of threads for which to divide a phase."""
    return team[0][_THREADS]


@SERIAL  # type: ignore[untyped-decorator]
def peek(team: Team, parts: int) -> int:
    """Return the part with which this thread will begin the next phase, -1 for none."""
    mine = team[1]
    part = mine[_TICKET] - mine[_START]
    return part if part < parts else -1


@SERIAL  # type: ignore[untyped-decorator]
def wait_until(counters: Shared, at: int, count: int) -> None:
    """Wait until other threads have raised the counter at index `at` to `count`."""
    spins = 0
    while fetch(counters, at) < count:
        spins += 1
        if spins < _SPINS:
            pause()
        else:
            sched_yield()


@SERIAL  # type: ignore[untyped-decorator]
def wait(team: Team) -> None:
    """Wait until the phases before are done."""
    shared, mine = team
    wait_until(shared, _DONE, mine[_START])


@SERIAL  # type: ignore[untyped-decorator]
def begin(team: Team, parts: int) -> Any:
    """Begin a phase -> this thread's first part, -1 for none."""
    mine = team[1]
    mine[_FINISHED] = 0
    part = peek(team, parts)
    if part < 0:
        mine[_START] += parts
    return part


@SERIAL  # type: ignore[untyped-decorator]
def proceed(team: Team, parts: int) -> Any:
    """Finish a part -> the next part of this thread, -1 for none."""
    shared, mine = team
    mine[_FINISHED] += 1
    mine[_TICKET] = fetch_add(shared, _DRAWN, 1)
    part = peek(team, parts)
    if part < 0:
        fetch_add(shared, _DONE, mine[_FINISHED])
        mine[_START] += parts
    return part
