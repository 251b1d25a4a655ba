"""Autoscaling policies under Ray Serve's own code, and the Kubernetes autoscaler, for a simulation."""

import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from ray.serve import autoscaling_policy
from ray.serve.autoscaling_policy import replica_queue_length_autoscaling_policy
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from benchmarks.simulation import STEP_S, Load, Scaler, World
from serve_app.deployments.autoscaling import DrainTimePolicy, context

SHIPPED = Path(__file__).parent.parent / "configs" / "all.yaml"
LOOK_BACK_S = 20.0
# Of every policy under Serve: upscale_delay_s, downscale_delay_s, upscaling_factor.
DELAYS = [(0, 30, 1), (0, 30, 0.3), (20, 30, 0.3), (0, 180, 1), (20, 180, 1), (0, 300, 1)]
SERVE = "Serve's policy, tuned"
OURS = "DrainTimePolicy, tuned"
KEDA = "KEDA on requests"
FORECAST = "with a forecast, tuned"

REPORT_STEPS = 1  # age of the newest metric: Serve's replicas report every 10 s
HPA_PERIOD_S = 15.0
HPA_STABILIZATION_S = 300.0
HPA_LEAST_STEP = 4  # replicas that the HPA may add in 15 s, or as many as there are
KEDA_POLL_S = 30.0


class Clock:
    """The simulation's time, in place of the module `time` in Serve's code."""

    now = 0.0

    def time(self) -> float:
        return self.now


CLOCK = Clock()


@contextlib.contextmanager
def simulated_time() -> Iterator[None]:
    """Let Serve's delays follow the simulation."""
    with mock.patch.object(autoscaling_policy, "time", CLOCK):
        yield


class ServeScaler:
    """A policy as Serve runs it: its averages, bounds, delays and factors are Serve's own code.

    It needs `simulated_time`. options: of AutoscalingConfig. mean_s: mean length of a track.
    """

    def __init__(self, policy: Any, world: World, mean_s: float, **options: Any) -> None:
        self._config = AutoscalingConfig(min_replicas=1, max_replicas=world.most, **options)
        self._decide = autoscaling_policy._apply_autoscaling_config(policy)
        self._window = math.ceil(self._config.look_back_period_s / STEP_S)
        self._loads: deque[Load] = deque(maxlen=self._window + REPORT_STEPS)
        self._state: dict[str, Any] = {}
        self._world = world
        self._mean_s = mean_s

    def __call__(self, now: float, load: Load, target: int) -> int:
        self._loads.append(load)
        CLOCK.now = now
        wanted, self._state = self._decide(self._context(now, load, target))
        return int(min(self._world.most, max(1, math.ceil(wanted))))

    def _context(self, now: float, load: Load, target: int) -> AutoscalingContext:
        seen = list(self._loads)[: self._window]
        running = sum(one.running for one in seen) / len(seen)
        queued = sum(one.queued for one in seen) / len(seen)
        held_s = sum(one.running_s for one in seen) / len(seen)
        metrics = {
            context.AUDIO_S: {"0": held_s},
            context.MADE_AUDIO_S_PER_S: {"0": running * self._world.slot_audio_s_per_s},
            context.AUDIO_S_PER_S: {"0": self._world.audio_s_per_s},
            context.MEAN_AUDIO_S: {"0": self._mean_s},
        }
        return AutoscalingContext(
            deployment_id=None,
            deployment_name="MusicGen:small",
            app_name=None,
            current_num_replicas=load.replicas,
            target_num_replicas=target,
            running_replicas=[],
            total_num_requests=running + queued,
            total_queued_requests=queued,
            aggregated_metrics=metrics,
            raw_metrics=None,
            capacity_adjusted_min_replicas=1,
            capacity_adjusted_max_replicas=self._world.most,
            policy_state=self._state,
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=now,
            config=self._config,
        )


def serve_default(world: World, mean_s: float, **options: float) -> ServeScaler:
    """Serve's default policy, by numbers of requests."""
    return ServeScaler(replica_queue_length_autoscaling_policy, world, mean_s, **options)


class KedaScaler:
    """KEDA on the number of requests, through the Horizontal Pod Autoscaler with its defaults.

    The metric is polled every KEDA_POLL_S. A lower number takes effect once it is the highest of
    the last HPA_STABILIZATION_S; each period may add HPA_LEAST_STEP replicas, or double them.
    """

    def __init__(self, target: float, gpus: int) -> None:
        self._target = target
        self._gpus = gpus
        self._wanted: deque[int] = deque(maxlen=round(HPA_STABILIZATION_S / HPA_PERIOD_S))
        self._requests = 0

    def __call__(self, now: float, load: Load, target: int) -> int:
        if now % KEDA_POLL_S == 0:
            self._requests = load.running + load.queued
        if now % HPA_PERIOD_S:
            return target
        self._wanted.append(math.ceil(self._requests / self._target))
        wanted = self._wanted[-1]
        if wanted < target:
            wanted = min(target, max(self._wanted))
        most = max(target + HPA_LEAST_STEP, 2 * target)
        return min(self._gpus, most, max(1, wanted))


class ForecastPolicy(DrainTimePolicy):
    """DrainTimePolicy for the music expected when a replica asked for now will run.

    The trend of the last `window_s` seconds goes on for `share` of `start_s`, at most until the music
    made has doubled; the margin for bursts grows with the square root of the load (`margin`), as
    in Halfin and Whitt (1981).
    """

    def __init__(
        self, start_s: float, share: float, window_s: float, margin: float, utilization: float
    ) -> None:
        super().__init__(utilization=utilization)
        self._ahead_s = share * start_s
        self._margin = margin
        self._made: deque[float] = deque(maxlen=round(window_s / STEP_S))

    def wanted(self, load: Any) -> int:
        made = context.total(load, context.MADE_AUDIO_S_PER_S) / self._speed(load)
        self._made.append(made)
        rise = min(made, max(0.0, self._slope()) * self._ahead_s)
        return super().wanted(load) + math.ceil(rise + self._margin * math.sqrt(made))

    def _slope(self) -> float:
        """Replicas per second, by least squares."""
        if len(self._made) < 3:
            return 0.0
        times = STEP_S * np.arange(len(self._made))
        times -= times.mean()
        return float(times @ np.array(self._made) / (times @ times))


Build = Callable[[float, Sequence[float]], Scaler]  # (cost parameter, options) -> scaler


@dataclass(frozen=True)
class Family:
    """A policy with free options. More of the parameter means fewer GPUs between `low` and `high`."""

    build: Build
    options: Sequence[tuple[float, ...]]
    low: float
    high: float


def families(world: World, mean_s: float) -> dict[str, Family]:
    """Describe the policies to compare. All under Serve have the same DELAYS to choose from."""

    def delayed(delays: Sequence[float]) -> dict[str, float]:
        names = ("upscale_delay_s", "downscale_delay_s", "upscaling_factor")
        return {"look_back_period_s": LOOK_BACK_S, **dict(zip(names, delays, strict=True))}

    def serve(target: float, options: Sequence[float]) -> Scaler:
        return serve_default(world, mean_s, target_ongoing_requests=target, **delayed(options))

    def ours(utilization: float, options: Sequence[float]) -> Scaler:
        drain_s, *delays = options
        return ServeScaler(DrainTimePolicy(drain_s, utilization), world, mean_s, **delayed(delays))

    def forecast(utilization: float, options: Sequence[float]) -> Scaler:
        share, margin, *delays = options
        policy = ForecastPolicy(world.start_s, share, 180, margin, utilization)
        return ServeScaler(policy, world, mean_s, **delayed(delays))

    def crossed(*heads: tuple[float, ...]) -> list[tuple[float, ...]]:
        return [head + delays for head, delays in itertools.product(heads, DELAYS)]

    return {
        SERVE: Family(serve, DELAYS, 2.0, 40.0),
        OURS: Family(ours, crossed((15,), (30,), (60,)), 0.1, 1.0),
        FORECAST: Family(forecast, crossed((0.5, 0.0), (1.0, 0.5)), 0.1, 1.0),
        KEDA: Family(lambda target, _: KedaScaler(target, world.most), [()], 2.0, 40.0),
    }


def shipped(world: World, mean_s: float) -> ServeScaler:
    """The first model's policy and delays in SHIPPED."""
    application = yaml.safe_load(SHIPPED.read_text())["applications"][0]
    config = application["args"]["models"][0]["deployment_config"]["autoscaling_config"]
    options = {name: config[name] for name in config if name.endswith("_s")}
    policy = DrainTimePolicy(**config["policy"]["policy_kwargs"])
    return ServeScaler(policy, world, mean_s, **options)
