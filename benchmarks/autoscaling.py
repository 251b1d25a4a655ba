"""Simulate days of traffic under this package's autoscaling policy, Serve's, and KEDA's, at equal cost.

python -m benchmarks.autoscaling [--gpus 20] [--days 5] [--quick]

Each policy's options are chosen on other days than those it is judged by, and its target is set so that all use the
same GPU-hours. Policies are the real classes, and Serve's delays and factors are Serve's own code. A request that
is refused counts as a wait of 300 s. The last line is JSON.
"""

import argparse
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.report import print_result, print_table, summary
from benchmarks.scalers import (
    ForecastPolicy,
    KedaScaler,
    ServeScaler,
    serve_default,
    simulated_time,
)
from benchmarks.simulation import STEP_S, Day, Floats, Scaler, Traffic, World, simulate
from benchmarks.traffic import DAY_S, traffic
from serve_app.deployments.autoscaling import DrainTimePolicy

COST = 2.0  # GPU-hours of every policy, as a multiple of those of full replicas
STARTS_S = (60, 180, 300)
TRAINING_SEEDS = range(1)
TESTING_SEEDS = range(10, 30)
TOLERANCE = 0.004  # of the GPU-hours
TUNING_ROUNDS = 3
ROUNDS = 8
STUDENT_T = {2: 12.71, 3: 4.30, 5: 2.78, 10: 2.26, 20: 2.09}  # 95 %, by number of days
OURS = "DrainTimePolicy"
SERVE = "Serve's policy, tuned"
KEDA = "KEDA on requests"
FORECAST = "with a forecast"
DEFAULT = "Serve's defaults"

Build = Callable[[float, Sequence[float]], Scaler]  # (cost parameter, options) -> scaler


@dataclass(frozen=True)
class Family:
    """A policy with free options. More of the parameter means fewer GPUs between `low` and `high`."""

    build: Build
    options: Sequence[tuple[float, ...]]
    low: float
    high: float


def families(gpus: int, mean_s: float, start_s: float) -> dict[str, Family]:
    """Describe the policies to compare. Delays, look-back and factors are AutoscalingConfig's."""

    def served(policy: Any, up_s: float, down_s: float, factor: float) -> Scaler:
        return ServeScaler(
            policy, gpus, mean_s, look_back_period_s=15, upscale_delay_s=up_s,
            downscale_delay_s=down_s, upscaling_factor=factor,
        )  # fmt: skip

    def serve(target: float, options: Sequence[float]) -> Scaler:
        up_s, down_s, factor = options
        return serve_default(
            gpus, mean_s, target_ongoing_requests=target, look_back_period_s=15,
            upscale_delay_s=up_s, downscale_delay_s=down_s, upscaling_factor=factor,
        )  # fmt: skip

    def ours(utilization: float, options: Sequence[float]) -> Scaler:
        drain_s, *delays = options
        return served(DrainTimePolicy(drain_s, utilization), *delays)

    def forecast(utilization: float, options: Sequence[float]) -> Scaler:
        share, window_s, margin, *delays = options
        return served(ForecastPolicy(start_s, share, window_s, margin, utilization), *delays)

    delays = [(0, 30, 1), (0, 30, 0.3), (0, 300, 1), (0, 300, 0.3), (30, 300, 1)]
    trends = itertools.product((0.5, 1.0), (180,), (0.0, 0.5), (0,), (30,), (1,))
    return {
        SERVE: Family(serve, delays, 2.0, 40.0),
        KEDA: Family(lambda target, _: KedaScaler(target, gpus), [()], 2.0, 40.0),
        OURS: Family(ours, [(s, *delay) for s in (15, 40) for delay in delays[:2]], 0.1, 2.0),
        FORECAST: Family(forecast, list(trends), 0.1, 2.0),
    }


def p95(days: Iterable[Day]) -> Floats:
    return np.array([np.percentile(day.waits_s, 95) for day in days])


def at_cost(
    family: Family, options: Sequence[float], days: Sequence[Traffic], world: World, rounds: int
) -> list[Day]:
    """Simulate the days with the parameter at which they take COST, found in at most `rounds`.

    GPU-hours are about inverse to the parameter, so that the next try follows from the last.
    """
    cost = COST * float(np.mean([day.busy_hours for day in days]))
    value = math.sqrt(family.low * family.high)
    tries: list[tuple[float, list[Day]]] = []
    for _ in range(rounds):
        found = [simulate(family.build(value, options), day, world) for day in days]
        ratio = float(np.mean([day.gpu_hours for day in found])) / cost
        tries.append((abs(ratio - 1), found))
        if abs(ratio - 1) < TOLERANCE:
            break
        value = min(family.high, max(family.low, value * ratio))
    return min(tries, key=lambda one: one[0])[1]


def tuned(family: Family, days: Sequence[Traffic], world: World) -> Sequence[float]:
    """Choose the options with the shortest waits at COST."""
    if len(family.options) == 1:
        return family.options[0]
    waits = {
        options: float(p95(at_cost(family, options, days, world, TUNING_ROUNDS)).mean())
        for options in family.options
    }
    return min(waits, key=lambda options: waits[options])


def compare(
    gpus: int, world: World, training: Sequence[Traffic], testing: Sequence[Traffic]
) -> dict[str, dict[str, Any]]:
    """Return each policy's figures, with the difference to Serve's tuned one day by day."""
    mean_s = float(training[0].durations_s.mean())
    waits: dict[str, Floats] = {}
    found = {}
    for name, family in families(gpus, mean_s, world.start_s).items():
        print(f"  {name} ...", file=sys.stderr, flush=True)
        options = tuned(family, training, world)
        days = at_cost(family, options, testing, world, ROUNDS)
        waits[name] = p95(days)
        found[name] = figures(days, waits[name], waits[SERVE]) | {"options": list(options)}
    days = [simulate(serve_default(gpus, mean_s), day, world) for day in testing]
    return found | {DEFAULT: figures(days, p95(days), waits[SERVE]) | {"options": []}}


def figures(days: Sequence[Day], waits_s: Floats, base_s: Floats) -> dict[str, Any]:
    """Summarize. Intervals are of 95 %, by Student's t over the days."""
    change = 100 * (waits_s - base_s) / base_s.mean()
    return {
        "mean_s": round(float(np.mean([day.waits_s.mean() for day in days])), 2),
        "p95_s": round(float(waits_s.mean()), 1),
        "p95_interval_s": round(_half_width(waits_s), 1),
        "gpu_hours": round(float(np.mean([day.gpu_hours for day in days])), 1),
        "against_serve_%": round(float(change.mean()), 1),
        "interval_%": round(_half_width(change), 1),
    }


def _half_width(values: Floats) -> float:
    if values.size < 2:
        return math.nan
    return float(STUDENT_T[values.size] * values.std(ddof=1) / math.sqrt(values.size))


def worlds(gpus: int) -> dict[str, World]:
    """Clouds to compare in: three start times; a quarter of the GPUs from 10 to 14 o'clock; 24 losses.

    A loss takes 5 to 30 % of the running replicas, as a spot market does.
    """
    rng = np.random.default_rng(0)
    steps = rng.integers(0, round(DAY_S / STEP_S), 24)
    losses = {int(step): float(rng.uniform(0.05, 0.3)) for step in steps}

    def scarce(now: float) -> int:
        return math.ceil(gpus / 4) if 10 * 3600 <= now < 14 * 3600 else gpus

    starts = {f"start-{start_s}": World(gpus, start_s) for start_s in STARTS_S}
    return starts | {
        "scarce": World(gpus, 180, quota=scarce),
        "spot": World(gpus, 180, losses=losses),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.autoscaling", description=summary(__doc__)
    )
    parser.add_argument(
        "--gpus", type=int, default=20, help="largest fleet, busy in the day's bursts (default: 20)"
    )
    parser.add_argument(
        "--days", type=int, default=5, choices=[*STUDENT_T], help="days to judge by (default: 5)"
    )
    parser.add_argument(
        "--worlds", nargs="+", choices=[*worlds(1)], default=[*worlds(1)],
        help="start times in seconds; scarce GPUs, lost ones (default: all)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="two days of two hours")
    return parser


def main() -> None:
    arguments = _parser().parse_args()
    warnings.filterwarnings("ignore", message=".*look_back_period_s.*")
    length_s = 7200 if arguments.quick else DAY_S
    testing = TESTING_SEEDS[: 2 if arguments.quick else arguments.days]
    days = [
        [traffic(arguments.gpus, s, length_s) for s in part] for part in (TRAINING_SEEDS, testing)
    ]
    found = {}
    for name in arguments.worlds:
        print(f"\n{name}, {arguments.gpus} GPUs\n", flush=True)
        with simulated_time():
            found[name] = compare(arguments.gpus, worlds(arguments.gpus)[name], *days)
        print_table(
            {k: {n: v for n, v in row.items() if n != "options"} for k, row in found[name].items()}
        )
    print_result("autoscaling", gpus=arguments.gpus, cost=COST, figures=found)


if __name__ == "__main__":
    main()
