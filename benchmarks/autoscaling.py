"""Simulate a day of traffic under the autoscaling policy, Serve's default one, and a fixed fleet.

python -m benchmarks.autoscaling [--gpus 100] [--plot docs/autoscaling.png]

The policy is the real class. The simulation follows Serve's averaging of metrics and its delays.
Replicas take a minute to start and drain before they stop. The last line is JSON.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.report import print_result, print_table, summary
from benchmarks.simulation import REPLICA_AUDIO_S_PER_S, SLOTS, Day, Policy, simulate
from serve_app.deployments.autoscaling import DrainTimePolicy

DAY_S = 86_400
DURATIONS_S = (8.0, 15.0, 30.0, 60.0, 120.0)
SHARES = (0.3, 0.2, 0.35, 0.1, 0.05)
LONG_SHARES = (0.05, 0.05, 0.2, 0.3, 0.4)  # in every eighth quarter of an hour
TARGET_UTILIZATION = 0.75  # of Serve's default policy


def traffic(gpus: int, seed: int = 0) -> Iterator[list[float]]:
    """Yield the durations of each second's requests.

    The rate follows the time of day, with bursts and periods of long tracks. Its peak keeps about
    `gpus` replicas busy.
    """
    rng = np.random.default_rng(seed)
    peak = gpus * REPLICA_AUDIO_S_PER_S / float(np.dot(DURATIONS_S, SHARES))  # requests per second
    bursts = {int(start): float(rng.uniform(1.5, 4.0)) for start in rng.integers(0, DAY_S, 40)}
    height = 1.0
    until = 0
    for second in range(DAY_S):
        if second in bursts:
            height = bursts[second]
            until = second + int(rng.integers(30, 600))
        height = height if second < until else 1.0
        wave = 0.02 + 0.38 * (0.5 - 0.5 * math.cos(2 * math.pi * second / DAY_S)) ** 2
        count = rng.poisson(peak * min(1.0, wave * height))
        shares = LONG_SHARES if second // 900 % 8 == 3 else SHARES
        yield [float(duration) for duration in rng.choice(DURATIONS_S, count, p=shares)]


def policies(drain_s: float, fixed: int) -> dict[str, Policy]:
    drain = DrainTimePolicy(drain_s=drain_s)
    return {
        f"drain in {drain_s:g} s": lambda load: drain(load)[0],
        "Serve's default": lambda load: load.total_num_requests / (SLOTS * TARGET_UTILIZATION),
        f"fixed: {fixed}": lambda _: fixed,
    }


def plot(days: Mapping[str, Day], file: Path) -> None:
    """Plot the number of replicas over the day."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 3.5))
    for name, day in days.items():
        hours = [minute / 60 for minute in range(len(day.fleet))]
        axes.plot(hours, day.fleet, label=name, linewidth=1)
    axes.set_xlabel("hour")
    axes.set_ylabel("replicas")
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.autoscaling", description=summary(__doc__)
    )
    parser.add_argument(
        "--gpus", type=int, default=100, help="largest fleet, busy at the day's peak (default: 100)"
    )
    parser.add_argument(
        "--drain-s", type=float, default=30.0, help="drain time of the policy (default: 30)"
    )
    parser.add_argument("--plot", type=Path, help="PNG of the replicas over the day")
    return parser


def main() -> None:
    arguments = _parser().parse_args()
    seconds = list(traffic(arguments.gpus))
    needed_s = sum(map(sum, seconds)) / REPLICA_AUDIO_S_PER_S
    fixed = math.ceil(2 * needed_s / DAY_S)
    days = {
        name: simulate(policy, seconds, arguments.gpus, name)
        for name, policy in policies(arguments.drain_s, fixed).items()
    }
    print(f"{sum(map(len, seconds))} requests for {needed_s / 3600:.1f} GPU-hours of music\n")
    found = {name: day.figures() for name, day in days.items()}
    print_table(found)
    if arguments.plot is not None:
        plot(days, arguments.plot)
    print_result("autoscaling", gpus=arguments.gpus, figures=found)


if __name__ == "__main__":
    main()
