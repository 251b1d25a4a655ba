"""Simulated replicas: slots, one FIFO queue, slow starts, idle nodes, quotas and lost machines.

Requests are served one by one by a compiled event loop; the fleet changes every STEP_S. Slots are
pooled: a request waits while no replica has a free one. All tracks advance at the same speed, a
stopping replica finishes its tracks, and tracks of a lost one continue on others.
"""

import bisect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

SLOTS = 16  # per replica
REPLICA_AUDIO_S_PER_S = 20.0  # with all slots busy
STEP_S = 5.0
NODE_THERE_S = 20.0  # start of a replica on a node that is there
PATIENCE_S = 300.0  # longest wait in the queue; later requests are refused

Floats = NDArray[np.float64]


class Traffic(NamedTuple):
    """Requests in order of arrival (s), and their durations (s of music)."""

    arrivals_s: Floats
    durations_s: Floats

    @property
    def busy_hours(self) -> float:
        """GPU-hours of the usual card's replicas, if they were always full."""
        return float(self.durations_s.sum()) / REPLICA_AUDIO_S_PER_S / 3600


class Load(NamedTuple):
    """The state at a step's end: replicas that run, requests that run and wait, their music (s)."""

    replicas: int
    running: int
    queued: int
    running_s: float
    queued_s: float


class World(NamedTuple):
    """The cloud and its card.

    most: replicas; start_s: until a replica runs, with the start of its node; idle_s: time for which
    a node without a replica stays, and counts; quota: GPUs to be had at a time; losses: share of the
    fleet that is lost, by step; audio_s_per_s: of a replica with all slots busy.
    """

    most: int
    start_s: float
    idle_s: float = 0.0
    quota: Callable[[float], int] | None = None
    losses: Mapping[int, float] = MappingProxyType({})
    slots: int = SLOTS
    audio_s_per_s: float = REPLICA_AUDIO_S_PER_S

    @property
    def slot_audio_s_per_s(self) -> float:
        return self.audio_s_per_s / self.slots


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
    speed: float,
    arrivals: Floats,
    durations: Floats,
    waits: Floats,
    head: int,
    heap: Floats,
    size: int,
    ends: float,
) -> tuple[int, int, float]:
    """Serve the queue until `end`.

    speed: of a slot; heap: when each of `size` running tracks ends; ends: their sum. Returns the new
    head of the queue, `size` and `ends`.
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
            finish = now + durations[head] / speed
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

    def __init__(self, traffic: Traffic, world: World) -> None:
        self._traffic = traffic
        self._slots = world.slots
        self._speed = world.slot_audio_s_per_s
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
            start, end, replicas * self._slots, self._speed, *traffic, self.waits_s, self._head,
            self._heap, self._running, self._ends,
        )  # fmt: skip
        arrived = int(np.searchsorted(traffic.arrivals_s, end))
        running_s = (self._ends - self._running * end) * self._speed
        queued_s = self._music_s[arrived] - self._music_s[self._head]
        return Load(
            replicas, self._running, arrived - self._head, max(0.0, running_s), float(queued_s)
        )


@dataclass
class Fleet:
    """Replicas: running, starting (ready at a time), and asked for but without a GPU.

    idle: when each node without a replica goes. A node that is still starting when its replica is
    given up is one of them. starts: of replicas, so far, and of nodes for them.
    """

    world: World
    running: int = 1
    starting: list[float] = field(default_factory=list)
    unplaced: int = 0
    idle: list[float] = field(default_factory=list)
    starts: int = 0
    nodes: int = 0
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
        while self.idle and self.idle[0] <= now:
            self.idle.pop(0)
        draining = max(0, math.ceil(busy / self.world.slots) - self.running)
        self._place(now, draining)
        while self.starting and self.starting[0] <= now:
            self.starting.pop(0)
            self.running += 1
        self.gpu_s += STEP_S * self._held(draining)

    def _held(self, draining: int) -> int:
        """GPUs that count. Nodes whose replicas finish their tracks are among the idle ones, if these stay."""
        return self.running + len(self.starting) + max(draining, len(self.idle))

    def _place(self, now: float, draining: int) -> None:
        """Start replicas: first on nodes that are there or will be, then on new ones."""
        quota = self.world.most if self.world.quota is None else self.world.quota(now)
        there_s = min(NODE_THERE_S, self.world.start_s)
        while self.unplaced:
            if len(self.idle) > draining:
                ready = max(now, self.idle.pop(0) - self.world.idle_s) + there_s
            elif self._held(draining) < quota:
                ready = now + self.world.start_s
                self.nodes += 1
            else:
                break
            bisect.insort(self.starting, ready)
            self.starts += 1
            self.unplaced -= 1

    def resize(self, target: int, now: float) -> None:
        """Ask for replicas, or give up those that have come least far."""
        self.unplaced += max(0, target - self.target)
        for _ in range(self.target - target):
            if self.unplaced:
                self.unplaced -= 1
            elif self.starting:
                self._leave(max(now, self.starting.pop() - NODE_THERE_S))
            else:
                self.running -= 1
                self._leave(now)

    def _leave(self, since: float) -> None:
        if self.world.idle_s:
            bisect.insort(self.idle, since + self.world.idle_s)


class Day(NamedTuple):
    """Result of one policy. fleet: running replicas by step; starts: of replicas; nodes: started for them."""

    waits_s: Floats
    gpu_hours: float
    fleet: list[int]
    starts: int
    nodes: int


Scaler = Callable[[float, Load, int], int]  # (time, load, target) -> target


def simulate(scaler: Scaler, traffic: Traffic, world: World) -> Day:
    """Serve the traffic with the fleet that the scaler asks for, until the last request came."""
    line = Line(traffic, world)
    fleet = Fleet(world)
    sizes = []
    for step in range(int(traffic.arrivals_s[-1] // STEP_S) + 1):
        fleet.advance(step, line.running)
        now = (step + 1) * STEP_S
        load = line.serve(step * STEP_S, now, fleet.running)
        fleet.resize(scaler(now, load, fleet.target), now)
        sizes.append(fleet.running)
    return Day(line.waits_s, fleet.gpu_s / 3600, sizes, fleet.starts, fleet.nodes)
