"""Simulate days of traffic under this package's autoscaling policy, Serve's, and KEDA's, at equal cost.

python -m benchmarks.autoscaling [--gpus 20] [--days 5] [--tuning-days 10] [--table worlds]
    [--worlds start-180 ...] [--quick]

Tables: `worlds` compares the policies; `delays` compares delays of this package's; `transfer` shows how
policies do with other tracks and cards than those that Serve's was tuned on. The options that
configs/all.yaml ships set the cost: targets of the others are set so that they take the same
GPU-hours. Options are chosen in each world on TRAINING_SEEDS, other days than those that judge them.
Policies are the real classes, and Serve's delays and factors are Serve's own code. A request that is
refused counts as a wait of 300 s. The last line is JSON.
"""

import argparse
import itertools
import logging
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import print_result, print_table, summary
from benchmarks.scalers import OURS, SERVE, Family, families, serve_default, shipped, simulated_time
from benchmarks.simulation import (
    REPLICA_AUDIO_S_PER_S,
    SLOTS,
    STEP_S,
    Floats,
    Scaler,
    Traffic,
    World,
    simulate,
)
from benchmarks.traffic import DAY_S, traffic

STARTS_S = (60, 180, 300)
IDLE_S = 300.0  # until a node without a replica is removed, as in cluster/
TRAINING_SEEDS = range(100, 110)
TESTING_SEEDS = range(10, 30)
TOLERANCE = 0.004  # of the GPU-hours
ROUNDS = 8
STUDENT_T = {2: 12.71, 3: 4.30, 5: 2.78, 10: 2.26, 20: 2.09}  # 95 %, by number of days
SHIPPED = "DrainTimePolicy, as shipped"
DEFAULT = "Serve's defaults"
KEPT = "Serve's policy, its target kept"
RESET = "Serve's policy, its target set anew"


class Change(NamedTuple):
    """Tracks `longer` times as long, and as many times fewer; a card of other slots and speed."""

    longer: float = 1.0
    slots: int = SLOTS
    audio_s_per_s: float = REPLICA_AUDIO_S_PER_S


CHANGES = {
    "none": Change(),
    "tracks of twice the length": Change(longer=2.0),
    "half the speed": Change(audio_s_per_s=10.0),
    "half the slots and speed": Change(slots=8, audio_s_per_s=10.0),
    "twice the slots and speed": Change(slots=32, audio_s_per_s=40.0),
}


DRAIN_S = 30.0  # as shipped
UPSCALE_DELAYS_S = (0, 20, 30)
DOWNSCALE_DELAYS_S = (30, 180, 300)


class Plan(NamedTuple):
    """GPUs of the usual card, and the seeds and length of the days to tune on and to judge by."""

    gpus: int
    training: Sequence[int]
    testing: Sequence[int]
    length_s: int = DAY_S

    def days(self, seeds: Sequence[int], longer: float = 1.0) -> list[Traffic]:
        return [traffic(self.gpus, seed, self.length_s, longer) for seed in seeds]


class Days(NamedTuple):
    """Figures of one policy, by day."""

    p95_s: Floats
    mean_s: Floats
    gpu_hours: Floats
    starts: Floats
    nodes: Floats


class Fit(NamedTuple):
    """A family at given GPU-hours.

    error: logarithm of the ratio to them; slope: of the GPU-hours by the value, in logarithms.
    """

    options: Sequence[float]
    value: float
    error: float
    slope: float
    days: Days


def run(build: Callable[[], Scaler], days: Sequence[Traffic], world: World) -> Days:
    rows = []
    for day in days:
        with simulated_time():
            found = simulate(build(), day, world)
        p95_s = np.percentile(found.waits_s, 95)
        rows.append((p95_s, found.waits_s.mean(), found.gpu_hours, found.starts, found.nodes))
    return Days(*np.array(rows, dtype=float).T)


def at_cost(
    family: Family,
    options: Sequence[float],
    days: Sequence[Traffic],
    world: World,
    gpu_hours: float,
    near: Fit | None = None,
) -> Fit:
    """Find the parameter with which the days take `gpu_hours` on average, beginning as `near` ended."""
    value = near.value if near else math.sqrt(family.low * family.high)
    slope = near.slope if near else -1.0
    fits: list[Fit] = []
    for _ in range(ROUNDS):
        found = run(partial(family.build, value, options), days, world)
        error = math.log(mean_hours(found) / gpu_hours)
        if fits and value != fits[-1].value:
            step = math.log(value / fits[-1].value)
            slope = min(-0.2, max(-3.0, (error - fits[-1].error) / step))
        fits.append(Fit(options, value, error, slope, found))
        if abs(error) < TOLERANCE:
            break
        value = min(family.high, max(family.low, _next(fits)))
    return min(fits, key=lambda fit: abs(fit.error))


def _next(fits: Sequence[Fit]) -> float:
    """Interpolate between too many and too few GPU-hours, or follow the slope, in logarithms."""
    many = min((fit for fit in fits if fit.error > 0), key=lambda fit: fit.error, default=None)
    few = max((fit for fit in fits if fit.error < 0), key=lambda fit: fit.error, default=None)
    if many is None or few is None:
        return fits[-1].value * math.exp(-fits[-1].error / fits[-1].slope)
    share = many.error / (many.error - few.error)
    return many.value * math.exp(share * math.log(few.value / many.value))


def tuned(family: Family, days: Sequence[Traffic], world: World, gpu_hours: float) -> Fit:
    """Choose the options with the shortest waits of those that can take `gpu_hours`."""
    fits: list[Fit] = []
    for options in family.options:
        near = fits[-1] if fits else None
        fits.append(at_cost(family, options, days, world, gpu_hours, near))
    return min(fits, key=lambda fit: (abs(fit.error) > 5 * TOLERANCE, fit.days.p95_s.mean()))


def compare(name: str, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return each policy's figures in a world, with the difference to Serve's tuned one day by day."""
    world = worlds(plan.gpus)[name]
    training = plan.days(plan.training)
    testing = plan.days(plan.testing)
    mean_s = mean_length_s(training)
    ours = partial(shipped, world, mean_s)
    days = {SHIPPED: run(ours, testing, world)}
    hours = [mean_hours(run(ours, training, world)), mean_hours(days[SHIPPED])]
    chosen: dict[str, list[float]] = {}
    for policy, family in families(world, mean_s).items():
        print(f"  {name}: {policy} ...", file=sys.stderr, flush=True)
        best = tuned(family, training, world, hours[0])
        fit = at_cost(family, best.options, testing, world, hours[1], best)
        days[policy] = fit.days
        chosen[policy] = [*best.options, round(fit.value, 3)]
    days[DEFAULT] = run(partial(serve_default, world, mean_s), testing, world)
    busy = busy_hours(testing, world)
    return {
        policy: figures(row, days[SERVE], busy) | {"options": chosen.get(policy, [])}
        for policy, row in days.items()
    }


def delays(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return DrainTimePolicy's figures by its delays, with the difference to the shipped ones."""
    world = World(plan.gpus, 180, IDLE_S)
    testing = plan.days(plan.testing)
    mean_s = mean_length_s(testing)
    base = run(partial(shipped, world, mean_s), testing, world)
    busy = busy_hours(testing, world)
    family = families(world, mean_s)[OURS]
    found = {SHIPPED: figures(base, base, busy)}
    fit = None
    for up_s, down_s in itertools.product(UPSCALE_DELAYS_S, DOWNSCALE_DELAYS_S):
        options = (DRAIN_S, up_s, down_s, 1)
        fit = at_cost(family, options, testing, world, mean_hours(base), fit)
        found[f"up {up_s} s, down {down_s} s"] = figures(fit.days, base, busy)
    return found


def transfer(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the figures with other tracks and cards than those that Serve's policy was tuned on.

    Its target is kept, or set anew so that it takes the GPU-hours of the shipped policy.
    """
    usual = World(plan.gpus, 180, IDLE_S)
    training = plan.days(plan.training)
    mean_s = mean_length_s(training)
    hours = mean_hours(run(partial(shipped, usual, mean_s), training, usual))
    best = tuned(families(usual, mean_s)[SERVE], training, usual, hours)
    found = {}
    for name, change in CHANGES.items():
        print(f"  {name} ...", file=sys.stderr, flush=True)
        for policy, row in changed(change, plan, best).items():
            found[f"{name}: {policy}"] = row
    return found


def changed(change: Change, plan: Plan, best: Fit) -> dict[str, dict[str, Any]]:
    """Return the figures for one change. best: Serve's policy, as it was tuned before."""
    days = plan.days(plan.testing, change.longer)
    most = math.ceil(plan.gpus * REPLICA_AUDIO_S_PER_S / change.audio_s_per_s)
    world = World(most, 180, IDLE_S, slots=change.slots, audio_s_per_s=change.audio_s_per_s)
    mean_s = mean_length_s(days)
    serve = families(world, mean_s)[SERVE]
    ours = run(partial(shipped, world, mean_s), days, world)
    kept = run(partial(serve.build, best.value, best.options), days, world)
    reset = at_cost(serve, best.options, days, world, mean_hours(ours), best)
    busy = busy_hours(days, world)
    rows: dict[str, tuple[Days, float | None]] = {
        KEPT: (kept, round(best.value, 1)),
        RESET: (reset.days, round(reset.value, 1)),
        SHIPPED: (ours, None),
    }
    return {
        policy: figures(row, reset.days, busy) | {"target": target}
        for policy, (row, target) in rows.items()
    }


def mean_hours(days: Days) -> float:
    return float(days.gpu_hours.mean())


def mean_length_s(days: Sequence[Traffic]) -> float:
    return float(np.mean([day.durations_s.mean() for day in days]))


def busy_hours(days: Sequence[Traffic], world: World) -> float:
    """GPU-hours of a day if replicas were always full."""
    music_s = float(np.mean([day.durations_s.sum() for day in days]))
    return music_s / world.audio_s_per_s / 3600


def figures(days: Days, base: Days, busy: float) -> dict[str, Any]:
    """Summarize. Intervals are of 95 %, by Student's t over the days."""
    change = 100 * (days.p95_s - base.p95_s) / (base.p95_s.mean() or math.nan)
    return {
        "mean_s": round(float(days.mean_s.mean()), 2),
        "p95_s": round(float(days.p95_s.mean()), 1),
        "p95_interval_s": round(_half_width(days.p95_s), 1),
        "gpu_hours": round(mean_hours(days), 1),
        "cost": round(mean_hours(days) / busy, 2),
        "starts": round(float(days.starts.mean())),
        "nodes": round(float(days.nodes.mean())),
        "difference_%": round(float(change.mean()), 1),
        "interval_%": round(_half_width(change), 1),
    }


def _half_width(values: Floats) -> float:
    if values.size < 2:
        return math.nan
    return float(STUDENT_T[values.size] * values.std(ddof=1) / math.sqrt(values.size))


def worlds(gpus: int) -> dict[str, World]:
    """Clouds to compare in.

    Three start times; nodes that go at once with their replicas; a quarter of the GPUs from 10 to
    14 o'clock; 24 losses of 5 to 30 % of the running replicas, as in a spot market.
    """
    rng = np.random.default_rng(0)
    steps = rng.integers(0, round(DAY_S / STEP_S), 24)
    losses = {int(step): float(rng.uniform(0.05, 0.3)) for step in steps}

    def scarce(now: float) -> int:
        return math.ceil(gpus / 4) if 10 * 3600 <= now < 14 * 3600 else gpus

    starts = {f"start-{start_s}": World(gpus, start_s, IDLE_S) for start_s in STARTS_S}
    return starts | {
        "no-idle": World(gpus, 180),
        "scarce": World(gpus, 180, IDLE_S, quota=scarce),
        "spot": World(gpus, 180, IDLE_S, losses=losses),
    }


TABLES = {"delays": delays, "transfer": transfer}


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
        "--tuning-days", type=int, default=len(TRAINING_SEEDS), metavar="N",
        choices=range(1, len(TRAINING_SEEDS) + 1),
        help="other days to choose the options on, at most 10 (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--worlds", nargs="+", choices=[*worlds(1)], default=[*worlds(1)],
        help="start times in seconds; nodes that go at once; scarce GPUs, lost ones (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--table", choices=["worlds", *TABLES], default="worlds",
        help="policies by world, delays, or other tracks and cards after tuning (default: worlds)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, default=1, help="processes, one for each world (default: 1)"
    )
    parser.add_argument("--quick", action="store_true", help="two days of two hours, after three")
    return parser


def _printed(title: str, found: dict[str, dict[str, Any]]) -> None:
    print(f"\n{title}\n", flush=True)
    print_table({k: {n: v for n, v in row.items() if n != "options"} for k, row in found.items()})


def main() -> None:
    arguments = _parser().parse_args()
    warnings.filterwarnings("ignore", message=".*look_back_period_s.*")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # starts that scarce GPUs stall
    training = TRAINING_SEEDS[: arguments.tuning_days]
    plan = Plan(arguments.gpus, training, TESTING_SEEDS[: arguments.days])
    if arguments.quick:
        plan = Plan(arguments.gpus, TRAINING_SEEDS[:3], TESTING_SEEDS[:2], 7200)
    found = {}
    if arguments.table in TABLES:
        found[arguments.table] = TABLES[arguments.table](plan)
        _printed(f"{arguments.table}, {plan.gpus} GPUs", found[arguments.table])
    else:
        with ProcessPoolExecutor(arguments.workers) as pool:
            rows = pool.map(partial(compare, plan=plan), arguments.worlds)
            for name, row in zip(arguments.worlds, rows, strict=True):
                _printed(f"{name}, {plan.gpus} GPUs", row)
                found[name] = row
    print_result("autoscaling", gpus=plan.gpus, figures=found)


if __name__ == "__main__":
    main()
