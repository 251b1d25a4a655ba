"""Simulated replicas: slots, one FIFO queue, slow starts, quotas and lost machines.

Requests are served one by one by a compiled event loop; the fleet changes every STEP_S. Slots are
pooled: a request waits while no replica has a free one. All tracks advance at the same speed, a
stopping replica finishes its tracks, and tracks of a lost one continue on others.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

SLOTS = 16  # per replica
REPLICA_AUDIO_S_PER_S = 20.0  # with all slots busy
SLOT_AUDIO_S_PER_S = REPLICA_AUDIO_S_PER_S / SLOTS
STEP_S = 5.0
PATIENCE_S = 300.0  # longest wait in the queue; later requests are refused

Floats = NDArray[np.float64]


class Traffic(NamedTuple):
    """Requests in order of arrival (s), and their durations (s of music)."""

    arrivals_s: Floats
    durations_s: Floats

    @property
    def busy_hours(self) -> float:
        """GPU-hours of replicas that are always full."""
        return float(self.durations_s.sum()) / REPLICA_AUDIO_S_PER_S / 3600


class Load(NamedTuple):
    """The state at a step's end: replicas that run, requests that run and wait, their music (s)."""

    replicas: int
    running: int
    queued: int
    running_s: float
    queued_s: float


class World(NamedTuple):
    """The cloud. most: GPUs; quota: GPUs to be had at a time; lost: share of the fleet lost then."""

    most: int
    start_s: float
    quota: Callable[[float], int] | None = None
    losses: Mapping[int, float] = MappingProxyType({})  # by step


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _push(heap: Floats, size: int, value: float) -> None:
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= value:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = value


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _pop(heap: Floats, size: int) -> float:
    """Remove and return the least of `size` values."""
    least = heap[0]
    value = heap[size - 1]
    place = 0
    child = 1
    while child < size - 1:
        if child + 1 < size - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
        child = 2 * place + 1
    heap[place] = value
    return float(least)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _serve(
    start: float,
    end: float,
    slots: int,
    arrivals: Floats,
    durations: Floats,
    waits: Floats,
    head: int,
    heap: Floats,
    size: int,
    ends: float,
) -> tuple[int, int, float]:
    """Serve the queue until `end`.

    heap: when each of `size` running tracks ends; ends: their sum. Returns the new head of the
    queue, `size` and `ends`.
    """
    while head < arrivals.size and arrivals[head] < end:
        now = max(start, arrivals[head])
        while size > 0 and heap[0] <= now:
            ends -= _pop(heap, size)
            size -= 1
        while size > 0 and size >= slots and heap[0] < end:
            now = max(now, heap[0])
            ends -= _pop(heap, size)
            size -= 1
        if size >= slots:
            break
        waits[head] = min(PATIENCE_S, now - arrivals[head])
        if waits[head] < PATIENCE_S:
            finish = now + durations[head] / SLOT_AUDIO_S_PER_S
            _push(heap, size, finish)
            size += 1
            ends += finish
        start = max(start, now)
        head += 1
    while head < arrivals.size and end - arrivals[head] >= PATIENCE_S:
        waits[head] = PATIENCE_S
        head += 1
    while size > 0 and heap[0] <= end:
        ends -= _pop(heap, size)
        size -= 1
    return head, size, ends


class Line:
    """The requests of a day, served by a number of slots that changes."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._music_s = np.concatenate([[0.0], np.cumsum(traffic.durations_s)])
        self.waits_s = np.full(traffic.arrivals_s.size, PATIENCE_S)
        self._heap = np.zeros(1 << 18)
        self._head = 0
        self._running = 0
        self._ends = 0.0

    @property
    def running(self) -> int:
        return self._running

    def serve(self, start: float, end: float, replicas: int) -> Load:
        traffic = self._traffic
        self._head, self._running, self._ends = _serve(
            start, end, replicas * SLOTS, *traffic, self.waits_s, self._head,
            self._heap, self._running, self._ends,
        )  # fmt: skip
        arrived = int(np.searchsorted(traffic.arrivals_s, end))
        running_s = (self._ends - self._running * end) * SLOT_AUDIO_S_PER_S
        queued_s = self._music_s[arrived] - self._music_s[self._head]
        return Load(
            replicas, self._running, arrived - self._head, max(0.0, running_s), float(queued_s)
        )


@dataclass
class Fleet:
    """Replicas: running, starting (ready at a time), and asked for but without a GPU."""

    world: World
    running: int = 1
    starting: deque[float] = field(default_factory=deque)
    unplaced: int = 0
    gpu_s: float = 0.0

    @property
    def target(self) -> int:
        return self.running + len(self.starting) + self.unplaced

    def advance(self, step: int, busy: int) -> None:
        """Lose machines, take GPUs, start replicas, and count GPU time. busy: running tracks."""
        now = step * STEP_S
        lost = round(self.running * self.world.losses.get(step, 0.0))
        self.running -= lost
        self.unplaced += lost
        quota = self.world.most if self.world.quota is None else self.world.quota(now)
        draining = max(0, math.ceil(busy / SLOTS) - self.running)
        held = self.running + len(self.starting) + draining
        for _ in range(max(0, min(self.unplaced, quota - held))):
            self.starting.append(now + self.world.start_s)
            self.unplaced -= 1
        while self.starting and self.starting[0] <= now:
            self.starting.popleft()
            self.running += 1
        self.gpu_s += STEP_S * (self.running + len(self.starting) + draining)

    def resize(self, target: int) -> None:
        """Ask for replicas, or give up those that have come least far."""
        self.unplaced += max(0, target - self.target)
        for _ in range(self.target - target):
            if self.unplaced:
                self.unplaced -= 1
            elif self.starting:
                self.starting.pop()
            else:
                self.running -= 1


class Day(NamedTuple):
    """Result of one policy. fleet: running replicas by step."""

    waits_s: Floats
    gpu_hours: float
    fleet: list[int]


Scaler = Callable[[float, Load, int], int]  # (time, load, target) -> target


def simulate(scaler: Scaler, traffic: Traffic, world: World) -> Day:
    """Serve the traffic with the fleet that the scaler asks for, until the last request came."""
    line = Line(traffic)
    fleet = Fleet(world)
    sizes = []
    for step in range(int(traffic.arrivals_s[-1] // STEP_S) + 1):
        fleet.advance(step, line.running)
        load = line.serve(step * STEP_S, (step + 1) * STEP_S, fleet.running)
        fleet.resize(scaler((step + 1) * STEP_S, load, fleet.target))
        sizes.append(fleet.running)
    return Day(line.waits_s, fleet.gpu_s / 3600, sizes)
