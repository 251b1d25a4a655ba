"""Simulate the choice of replicas by requests, by music left, and by the expected wait.

python -m benchmarks.routing [--quick]

Tracks of 8 to 120 s with a heavy tail arrive at replicas of 16 slots. A step takes longer in a
larger batch, and a replica may hold more requests than slots. The expected wait is the router's own
arithmetic. The last line is JSON.
"""

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray.serve._private.common import DeploymentID, ReplicaID

from benchmarks.report import print_result, print_table, summary
from benchmarks.simulation import Floats
from benchmarks.traffic import bounded_pareto
from serve_app.deployments.wait_router import SentWork

SLOTS = 16
FRAME_S = 0.02
STEP_S = 0.0096  # of a batch: 20 s of music per second in 16 slots
STEP_S_PER_TRACK = 0.0004
SEEDS = range(3)
# (replicas, ingress replicas, requests that a replica may hold, share of full load)
CASES = ((3, 1, 65, 0.85), (8, 1, 65, 0.9), (8, 4, 65, 0.9), (8, 1, 17, 0.9), (40, 4, 65, 0.95))


def pace(tracks: int) -> float:
    """Seconds of music per second of each track in a batch."""
    return FRAME_S / (STEP_S + STEP_S_PER_TRACK * tracks)


@dataclass
class Replica:
    """A batch whose tracks share the replica's time, and the requests that wait for a slot."""

    running: list[list[float]] = field(default_factory=list)  # [music left, number]
    waiting: deque[int] = field(default_factory=deque)
    time: float = 0.0
    version: int = 0

    @property
    def held(self) -> int:
        return len(self.running) + len(self.waiting)

    def advance(self, now: float) -> list[int]:
        """Make music until `now`; return the tracks that have ended."""
        made_s = (now - self.time) * pace(len(self.running))
        self.time = now
        for track in self.running:
            track[0] -= made_s
        ended = [int(number) for left_s, number in self.running if left_s <= 1e-9]
        self.running = [track for track in self.running if track[0] > 1e-9]
        return ended

    def next_end(self) -> float:
        return self.time + min(self.running)[0] / pace(len(self.running))


class Fleet:
    """Replicas and the ingress replicas that choose among them, each with its FIFO queue."""

    def __init__(
        self, choose: "Choose", replicas: int, ingresses: int, most: int, seed: int
    ) -> None:
        self.replicas = [Replica() for _ in range(replicas)]
        self.names = [ReplicaID(str(i), DeploymentID("model")) for i in range(replicas)]
        self.sent = [SentWork() for _ in range(ingresses)]
        self.random = random.Random(seed)
        self._queues: list[deque[int]] = [deque() for _ in range(ingresses)]
        self._choose = choose
        self._most = most
        self._events: list[tuple[float, int, int]] = []

    def run(self, arrivals_s: Floats, durations_s: Floats) -> tuple[Floats, Floats]:
        """Return each request's wait for a slot, and its time in the system."""
        self._arrivals_s = arrivals_s
        self._durations_s = durations_s
        self._waits_s = np.zeros(arrivals_s.size)
        self._times_s = np.zeros(arrivals_s.size)
        for number, now in enumerate(arrivals_s):
            self._until(float(now))
            queue = self._queues[number % len(self._queues)]
            queue.append(number)
            self._route(float(now))
        self._until(math.inf)
        return self._waits_s, self._times_s

    def free(self) -> list[int]:
        return [i for i, replica in enumerate(self.replicas) if replica.held < self._most]

    def burden(self, ingress: int, place: int, now: float) -> tuple[float, float]:
        """Return what WaitRouter knows of a replica."""
        held = self.replicas[place].held
        return self.sent[ingress].burden(self.names[place], held, SLOTS, now)

    def _until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            now, place, version = heapq.heappop(self._events)
            if version == self.replicas[place].version:
                self._settle(place, now)
                self._route(now)

    def _settle(self, place: int, now: float) -> None:
        """End tracks, fill the slots, and plan the next end."""
        replica = self.replicas[place]
        for number in replica.advance(now):
            self._times_s[number] = now - self._arrivals_s[number]
            self.sent[number % len(self.sent)].end(str(number), now)
        while replica.waiting and len(replica.running) < SLOTS:
            number = replica.waiting.popleft()
            self._waits_s[number] = now - self._arrivals_s[number]
            replica.running.append([float(self._durations_s[number]), number])
        replica.version += 1
        if replica.running:
            heapq.heappush(self._events, (replica.next_end(), place, replica.version))

    def _route(self, now: float) -> None:
        """Send what waits in the ingress replicas, the oldest first."""
        while waiting := [queue for queue in self._queues if queue]:
            if not self.free():
                return
            queue = min(waiting, key=lambda queue: queue[0])
            number = queue.popleft()
            ingress = number % len(self._queues)
            place = self._choose(self, ingress, now)
            duration_s = float(self._durations_s[number])
            self.sent[ingress].send(str(number), self.names[place], duration_s, now)
            self.replicas[place].waiting.append(number)
            self._settle(place, now)


Choose = Callable[[Fleet, int, float], int]


def two_choices(fleet: Fleet, _ingress: int, _now: float) -> int:
    """Choose as Serve: of two random replicas the one with fewer requests."""
    places = fleet.random.sample(range(len(fleet.replicas)), 2)
    free = [place for place in places if place in fleet.free()] or fleet.free()
    return min(free, key=lambda place: fleet.replicas[place].held)


def fewest_requests(fleet: Fleet, _ingress: int, _now: float) -> int:
    return min(fleet.free(), key=lambda i: (fleet.replicas[i].held, fleet.random.random()))


def least_music(fleet: Fleet, ingress: int, now: float) -> int:
    return min(
        fleet.free(), key=lambda i: (fleet.burden(ingress, i, now)[1], fleet.random.random())
    )


def shortest_wait(fleet: Fleet, ingress: int, now: float) -> int:
    """Choose as WaitRouter."""
    return min(fleet.free(), key=lambda i: (*fleet.burden(ingress, i, now), fleet.random.random()))


CHOICES: dict[str, Choose] = {
    "Serve: fewer requests of two": two_choices,
    "fewest requests": fewest_requests,
    "least music left": least_music,
    "WaitRouter": shortest_wait,
}


def figures(choose: Choose, case: tuple[int, int, int, float], requests: int) -> dict[str, float]:
    """Return the mean over SEEDS. Waits: from arrival to a slot; the first tenth is left out."""
    replicas, ingresses, most, load = case
    found = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        durations_s = bounded_pareto(rng, np.full(requests, 1.0))
        rate = load * replicas * SLOTS * pace(SLOTS) / durations_s.mean()
        arrivals_s = np.cumsum(rng.exponential(1 / rate, requests))
        fleet = Fleet(choose, replicas, ingresses, most, seed)
        waits_s, times_s = (part[requests // 10 :] for part in fleet.run(arrivals_s, durations_s))
        found.append(
            (waits_s.mean(), *np.percentile(waits_s, (95, 99)), np.percentile(times_s, 95))
        )
    names = ("wait_mean_s", "wait_p95_s", "wait_p99_s", "time_p95_s")
    return {name: round(float(v), 2) for name, v in zip(names, np.mean(found, axis=0), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing", description=summary(__doc__)
    )
    parser.add_argument("--quick", action="store_true", help="one case, few requests")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    for case in CASES[1:2] if arguments.quick else CASES:
        name = "{} replicas, {} ingress, at most {} requests, load {}".format(*case)
        print(f"\n{name}\n")
        requests = 2000 if arguments.quick else 8000
        found[name] = {label: figures(choose, case, requests) for label, choose in CHOICES.items()}
        print_table(found[name])
    print_result("routing", figures=found)


if __name__ == "__main__":
    main()
