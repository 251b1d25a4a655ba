"""A day of traffic, simulated: the autoscaling policy beside Serve's default one and a fixed fleet.

python -m benchmarks.autoscaling [--gpus 100] [--plot docs/autoscaling.png]

The policy is the real class. Serve's averaging of load and its delays before scaling are followed; a replica takes a
while to start, and one that is to go finishes what it has. The last line is JSON.
"""

import argparse
import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np
from tqdm import tqdm

from benchmarks.report import print_result
from serve_app.deployments.autoscaling import (
    AUDIO_S,
    AUDIO_S_PER_S,
    MADE_AUDIO_S_PER_S,
    MEAN_AUDIO_S,
    DrainTimePolicy,
)

DAY_S = 86_400
SLOTS, AUDIO_S_PER_S_OF_REPLICA = 16, 20.0
START_S, LOOK_BACK_S, UPSCALE_DELAY_S, DOWNSCALE_DELAY_S = 60, 20, 20, 300
PRICE_PER_HOUR = 0.526  # US dollars, of a g4dn.xlarge
PATIENCE_S = 300.0  # who would wait longer is refused
DURATIONS_S, SHARES = (8.0, 15.0, 30.0, 60.0, 120.0), (0.3, 0.2, 0.35, 0.1, 0.05)


@dataclass
class Load:
    """What a policy is told, as Serve tells it."""

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


Policy = Callable[[Load], float]


@dataclass
class Fleet:
    """Replicas that start after a while and drain before they go; every running piece advances at the same speed."""

    replicas: int
    starting: deque[float] = field(default_factory=deque)
    finishing: list[tuple[float, float]] = field(
        default_factory=list
    )  # (end, duration) of each running piece
    gpu_s: float = 0.0

    @property
    def free_slots(self) -> int:
        return max(0, self.replicas * SLOTS - len(self.finishing))

    def advance(self, now: float) -> None:
        while self.starting and self.starting[0] <= now:
            self.starting.popleft()
            self.replicas += 1
        while self.finishing and self.finishing[0][0] <= now:
            heapq.heappop(self.finishing)
        draining = math.ceil(len(self.finishing) / SLOTS) - self.replicas
        self.gpu_s += self.replicas + len(self.starting) + max(0, draining)

    def run(self, now: float, duration_s: float) -> None:
        heapq.heappush(
            self.finishing, (now + duration_s * SLOTS / AUDIO_S_PER_S_OF_REPLICA, duration_s)
        )

    def resize(self, now: float, wanted: int) -> None:
        present = self.replicas + len(self.starting)
        for _ in range(wanted - present):
            self.starting.append(now + START_S)
        for _ in range(present - wanted):
            if self.starting:
                self.starting.pop()
            else:
                self.replicas -= 1


@dataclass
class Delays:
    """A change of the number of replicas is made when it has been wanted for a while, as in Serve."""

    since: float = 0.0
    direction: int = 0

    def decide(self, now: float, present: int, wanted: int) -> int:
        direction = (wanted > present) - (wanted < present)
        if direction != self.direction:
            self.since, self.direction = now, direction
        delay_s = UPSCALE_DELAY_S if direction > 0 else DOWNSCALE_DELAY_S
        return wanted if direction and now - self.since >= delay_s else present


def traffic(gpus: int, seed: int = 0) -> Iterator[list[float]]:
    """Each second's requests, by their seconds of music: a day's wave, bursts, and quarter hours of long pieces. At its
    height it keeps some `gpus` busy."""
    rng = np.random.default_rng(seed)
    capacity = (
        gpus * AUDIO_S_PER_S_OF_REPLICA / float(np.dot(DURATIONS_S, SHARES))
    )  # requests a second
    bursts = {int(start): float(rng.uniform(1.5, 4.0)) for start in rng.integers(0, DAY_S, 40)}
    height, until = 1.0, 0
    for second in range(DAY_S):
        if second in bursts:
            height, until = bursts[second], second + int(rng.integers(30, 600))
        height = height if second < until else 1.0
        wave = 0.02 + 0.38 * (0.5 - 0.5 * math.cos(2 * math.pi * second / DAY_S)) ** 2
        count = rng.poisson(capacity * min(1.0, wave * height))
        long = second // 900 % 8 == 3
        shares = SHARES if not long else (0.05, 0.05, 0.2, 0.3, 0.4)
        yield [float(duration) for duration in rng.choice(DURATIONS_S, count, p=shares)]


@dataclass
class Day:
    """What one policy's day was like. fleet: replicas by minute."""

    waits_s: list[float]
    refused: int
    gpu_hours: float
    fleet: list[int]

    def figures(self) -> dict[str, float]:
        p50, p95 = np.percentile(self.waits_s, [50, 95])
        return {
            "wait_p50_s": round(float(p50), 2), "wait_p95_s": round(float(p95), 2),
            "refused": round(self.refused / (self.refused + len(self.waits_s)), 5),
            "gpu_hours": round(self.gpu_hours, 1), "dollars": round(self.gpu_hours * PRICE_PER_HOUR, 2),
            "mean_replicas": round(mean(self.fleet), 2),
        }  # fmt: skip


def simulate(policy: Policy, seconds: Sequence[list[float]], gpus: int, name: str) -> Day:
    """One day, second by second; pieces start in the order that they come."""
    fleet, delays, queue = Fleet(replicas=1), Delays(), deque[tuple[float, float]]()
    history: deque[tuple[float, float, float]] = deque(maxlen=LOOK_BACK_S)
    day, lengths = Day([], 0, 0.0, []), deque[float]([30.0], maxlen=100)
    for now, arrivals in enumerate(tqdm(seconds, desc=name, leave=False)):
        fleet.advance(now)
        for duration_s in arrivals:
            lengths.append(duration_s)
            queue.append((now, duration_s))
        while queue and now - queue[0][0] > PATIENCE_S:
            queue.popleft()
            day.refused += 1
        while queue and fleet.free_slots:
            came, duration_s = queue.popleft()
            day.waits_s.append(now - came)
            fleet.run(now, duration_s)
        speed = AUDIO_S_PER_S_OF_REPLICA / SLOTS
        held_s = sum(end - now for end, _ in fleet.finishing) * speed
        history.append((held_s, len(fleet.finishing), len(queue)))
        held_s, running, waiting = (float(part) for part in np.mean(history, axis=0))
        load = Load(
            now,
            held_s,
            AUDIO_S_PER_S_OF_REPLICA,
            mean(lengths),
            round(running),
            waiting,
            fleet.replicas,
        )
        present = fleet.replicas + len(fleet.starting)
        wanted = min(max(1, math.ceil(policy(load))), gpus)
        fleet.resize(now, delays.decide(now, present, wanted))
        if now % 60 == 0:
            day.fleet.append(fleet.replicas)
    day.gpu_hours = fleet.gpu_s / 3600
    return day


def policies(drain_s: float, fixed: int) -> dict[str, Policy]:
    drain = DrainTimePolicy(drain_s=drain_s)
    return {
        f"drain in {drain_s:g} s": lambda load: drain(load)[0],
        "Serve's default": lambda load: load.total_num_requests / (SLOTS * 0.75),
        f"fixed: {fixed}": lambda _: fixed,
    }


def plot(days: dict[str, Day], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 3.5))
    for name, day in days.items():
        axes.plot(
            [minute / 60 for minute in range(len(day.fleet))], day.fleet, label=name, linewidth=1
        )
    axes.set_xlabel("hour")
    axes.set_ylabel("replicas")
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.autoscaling", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--gpus",
        type=int,
        default=100,
        help="the most there are, which the day's height keeps busy",
    )
    parser.add_argument(
        "--drain-s", type=float, default=30.0, help="the policy's wanted time to drain"
    )
    parser.add_argument("--plot", type=Path, help="where to draw the replicas over the day")
    arguments = parser.parse_args()
    seconds = list(traffic(arguments.gpus))
    needed_s = sum(map(sum, seconds)) / AUDIO_S_PER_S_OF_REPLICA
    fixed = math.ceil(2 * needed_s / DAY_S)
    days = {
        name: simulate(policy, seconds, arguments.gpus, name)
        for name, policy in policies(arguments.drain_s, fixed).items()
    }
    found = {name: day.figures() for name, day in days.items()}
    columns = list(next(iter(found.values())))
    print(f"{sum(map(len, seconds))} requests for {needed_s / 3600:.1f} GPU-hours of music\n")
    print(f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
    for name, row in found.items():
        print(f"| {name} | {' | '.join(f'{value:g}' for value in row.values())} |")
    if arguments.plot is not None:
        plot(days, arguments.plot)
    print_result("autoscaling", gpus=arguments.gpus, figures=found)


if __name__ == "__main__":
    main()
