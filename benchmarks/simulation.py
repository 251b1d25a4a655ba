"""Simulated replicas under Serve's autoscaling, in steps of one second."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean

import numpy as np
from tqdm import tqdm

from serve_app.deployments.autoscaling import (
    AUDIO_S,
    AUDIO_S_PER_S,
    MADE_AUDIO_S_PER_S,
    MEAN_AUDIO_S,
)

SLOTS = 16  # per replica
REPLICA_AUDIO_S_PER_S = 20.0  # with all slots busy
START_S = 60
LOOK_BACK_S = 20
UPSCALE_DELAY_S = 20
DOWNSCALE_DELAY_S = 300
PRICE_PER_HOUR = 0.526  # US dollars, of a g4dn.xlarge
PATIENCE_S = 300.0  # longest wait in the queue; later requests are refused


@dataclass
class Load:
    """Input of an autoscaling policy: the fields of Serve's AutoscalingContext that are used."""

    current_time: float
    held_s: float
    speed: float
    length: float
    running: int
    total_queued_requests: float | None
    target_num_replicas: int
    deployment_name: str = "MusicGen:small"
    capacity_adjusted_min_replicas: int = 1
    capacity_adjusted_max_replicas: int = 1000

    @property
    def total_num_requests(self) -> float:
        return self.running + (self.total_queued_requests or 0.0)

    @property
    def aggregated_metrics(self) -> dict[str, dict[str, float]]:
        return {
            AUDIO_S: {"0": self.held_s},
            AUDIO_S_PER_S: {"0": self.speed},
            MADE_AUDIO_S_PER_S: {"0": self.running * self.speed / SLOTS},
            MEAN_AUDIO_S: {"0": self.length},
        }


Policy = Callable[[Load], float]  # -> wanted number of replicas


@dataclass
class Fleet:
    """Replicas that take START_S to start and drain before they stop.

    All tracks advance at the same speed. finishing: heap of (end, duration) of running tracks.
    """

    replicas: int
    starting: deque[float] = field(default_factory=deque)
    finishing: list[tuple[float, float]] = field(default_factory=list)
    gpu_s: float = 0.0

    @property
    def present(self) -> int:
        return self.replicas + len(self.starting)

    @property
    def free_slots(self) -> int:
        return max(0, self.replicas * SLOTS - len(self.finishing))

    def advance(self, now: float) -> None:
        """Start replicas and finish tracks that are due, and add a second of GPU time each."""
        while self.starting and self.starting[0] <= now:
            self.starting.popleft()
            self.replicas += 1
        while self.finishing and self.finishing[0][0] <= now:
            heapq.heappop(self.finishing)
        draining = math.ceil(len(self.finishing) / SLOTS) - self.replicas
        self.gpu_s += self.present + max(0, draining)

    def run(self, now: float, duration_s: float) -> None:
        """Start a track of `duration_s` in a free slot."""
        end = now + duration_s * SLOTS / REPLICA_AUDIO_S_PER_S
        heapq.heappush(self.finishing, (end, duration_s))

    def held_s(self, now: float) -> float:
        """Seconds of audio left to generate in running tracks."""
        speed = REPLICA_AUDIO_S_PER_S / SLOTS
        return sum(end - now for end, _ in self.finishing) * speed

    def resize(self, now: float, wanted: int) -> None:
        present = self.present
        for _ in range(wanted - present):
            self.starting.append(now + START_S)
        for _ in range(present - wanted):
            if self.starting:
                self.starting.pop()
            else:
                self.replicas -= 1


@dataclass
class Delays:
    """Serve's delays: a change takes effect once it has been wanted for a while."""

    since: float = 0.0
    direction: int = 0

    def decide(self, now: float, present: int, wanted: int) -> int:
        """Return `wanted` when its delay is over, `present` before."""
        direction = (wanted > present) - (wanted < present)
        if direction != self.direction:
            self.since = now
            self.direction = direction
        delay_s = UPSCALE_DELAY_S if direction > 0 else DOWNSCALE_DELAY_S
        return wanted if direction and now - self.since >= delay_s else present


class Queue:
    """Waiting requests, first in, first out. Counts the refused and the waiting times."""

    def __init__(self) -> None:
        self._waiting = deque[tuple[float, float]]()  # (arrival, duration)
        self._durations_s = deque[float]([30.0], maxlen=100)
        self.waits_s: list[float] = []
        self.refused = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def mean_duration_s(self) -> float:
        """Mean duration of the last 100 requests."""
        return mean(self._durations_s)

    def add(self, now: float, durations_s: Sequence[float]) -> None:
        self._durations_s.extend(durations_s)
        self._waiting.extend((now, duration_s) for duration_s in durations_s)

    def serve(self, now: float, fleet: Fleet) -> None:
        """Refuse requests that waited for PATIENCE_S, then fill the free slots."""
        while self._waiting and now - self._waiting[0][0] > PATIENCE_S:
            self._waiting.popleft()
            self.refused += 1
        while self._waiting and fleet.free_slots:
            arrival, duration_s = self._waiting.popleft()
            self.waits_s.append(now - arrival)
            fleet.run(now, duration_s)


@dataclass
class Day:
    """Result of one policy. fleet: number of replicas by minute."""

    waits_s: list[float]
    refused: int
    gpu_hours: float
    fleet: list[int]

    def figures(self) -> dict[str, float]:
        p50, p95 = np.percentile(self.waits_s, [50, 95])
        return {
            "wait_p50_s": round(float(p50), 2),
            "wait_p95_s": round(float(p95), 2),
            "refused": round(self.refused / (self.refused + len(self.waits_s)), 5),
            "gpu_hours": round(self.gpu_hours, 1),
            "dollars": round(self.gpu_hours * PRICE_PER_HOUR, 2),
            "mean_replicas": round(mean(self.fleet), 2),
        }


def simulate(policy: Policy, seconds: Sequence[list[float]], gpus: int, name: str) -> Day:
    """Simulate one day of `seconds`, the durations of each second's requests."""
    fleet = Fleet(replicas=1)
    delays = Delays()
    queue = Queue()
    history: deque[tuple[float, int, int]] = deque(maxlen=LOOK_BACK_S)
    replicas = []
    for now, arrivals in enumerate(tqdm(seconds, desc=name, leave=False)):
        fleet.advance(now)
        queue.add(now, arrivals)
        queue.serve(now, fleet)
        history.append((fleet.held_s(now), len(fleet.finishing), len(queue)))
        load = _load(now, history, queue.mean_duration_s, fleet.replicas)
        wanted = min(max(1, math.ceil(policy(load))), gpus)
        fleet.resize(now, delays.decide(now, fleet.present, wanted))
        if now % 60 == 0:
            replicas.append(fleet.replicas)
    return Day(queue.waits_s, queue.refused, fleet.gpu_s / 3600, replicas)


def _load(
    now: float, history: Sequence[tuple[float, int, int]], length: float, replicas: int
) -> Load:
    """Average the history of held seconds, running and queued requests, as Serve does."""
    held_s, running, queued = (float(part) for part in np.mean(history, axis=0))
    return Load(now, held_s, REPLICA_AUDIO_S_PER_S, length, round(running), queued, replicas)
