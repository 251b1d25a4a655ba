"""How many replicas a model needs, by the seconds of music that are waited for.

Ray Serve pickles this module by value and calls it on the head node: it imports the standard library alone.
"""

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Protocol

logger = logging.getLogger("ray.serve")

# What a replica reports of itself (MusicGenReplica.record_autoscaling_stats).
AUDIO_S, WAITING_AUDIO_S, MEAN_AUDIO_S = "audio_s", "waiting_audio_s", "mean_audio_s"
AUDIO_S_PER_S, MADE_AUDIO_S_PER_S = "audio_s_per_s", "made_audio_s_per_s"
WINDOW_S = 10.0
MODEL_PREFIX = "MusicGen:"  # of the deployments' names; the model's id follows


class Context(Protocol):
    """What Serve tells a policy of one deployment. aggregated_metrics: by name, then by replica."""

    deployment_name: str
    target_num_replicas: int
    total_queued_requests: float | None
    current_time: float | None
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]]: ...


class DrainTimePolicy:
    """As many replicas as keep up with the music that callers come for, and make what waits within `drain_s` seconds.

    The music that comes is what is made plus what the work in hand grows by, over the last WINDOW_S; replicas are to be
    busy with it for `utilization` of their time. Never fewer than would make all work in hand within `drain_s`. What
    replicas hold is known in seconds; what waits before them is counted, and taken to be as long as what they had
    lately. Until a replica has reported, it is taken for one like the others, or for one that makes `audio_s_per_s`
    seconds of music a second, of pieces of `audio_s` seconds.
    """

    def __init__(
        self,
        drain_s: float = 30.0,
        utilization: float = 0.8,
        audio_s_per_s: float = 8.0,
        audio_s: float = 30.0,
    ) -> None:
        self._drain_s, self._utilization = drain_s, utilization
        self._audio_s_per_s, self._audio_s = audio_s_per_s, audio_s
        self._history: deque[tuple[float, float]] = deque()  # (when, seconds of music in hand)

    def __call__(self, context: Context) -> tuple[float, dict[str, Any]]:
        """The wanted number of replicas, which Serve keeps within its bounds and delays."""
        try:
            return self.wanted(context), {}
        except Exception:  # a policy that raises leaves the application stuck in DEPLOYING
            logger.exception("The autoscaling policy failed; the number of replicas stays")
            return context.target_num_replicas, {}

    def wanted(self, context: Context) -> int:
        """Replicas, before any bounds."""
        metrics = context.aggregated_metrics or {}
        speed = _mean(metrics.get(AUDIO_S_PER_S)) or self._audio_s_per_s
        waiting_s = sum(_finite(metrics.get(WAITING_AUDIO_S))) + self._before_replicas_s(context)
        work_s = self.audio_s(context)
        made_per_s = sum(_finite(metrics.get(MADE_AUDIO_S_PER_S)))
        coming_per_s = max(0.0, made_per_s + self._growth(context.current_time, work_s))
        keep_up = coming_per_s / self._utilization + waiting_s / self._drain_s
        return math.ceil(max(keep_up, work_s / self._drain_s) / speed)

    def work_s(self, context: Context) -> float:
        """Seconds that one replica would work for the music that is wanted now."""
        speed = _mean((context.aggregated_metrics or {}).get(AUDIO_S_PER_S)) or self._audio_s_per_s
        return self.audio_s(context) / speed

    def audio_s(self, context: Context) -> float:
        """Seconds of music that are wanted now, running and waiting."""
        held_s = sum(_finite((context.aggregated_metrics or {}).get(AUDIO_S)))
        return held_s + self._before_replicas_s(context)

    def _before_replicas_s(self, context: Context) -> float:
        length = _mean((context.aggregated_metrics or {}).get(MEAN_AUDIO_S)) or self._audio_s
        return (context.total_queued_requests or 0.0) * length

    def _growth(self, now: float | None, work_s: float) -> float:
        """Of the music in hand, in seconds a second."""
        now = monotonic() if now is None else now
        self._history.append((now, work_s))
        while now - self._history[0][0] > WINDOW_S:
            self._history.popleft()
        then, before_s = self._history[0]
        return (work_s - before_s) / (now - then) if now > then else 0.0


class BudgetPolicy:
    """The same for all models of an application together, within a number of GPUs: its `autoscaling_policy`.

    Beyond their `min_replicas`, GPUs go to the models one replica at a time: first to those with work and no replica,
    then to the one with the most seconds of work to each of its GPUs. One that is to grow waits until another has given
    its GPUs back, so that no more than `gpus` are taken (though Serve itself starts a first replica, whoever has none).

    gpus_per_replica: by model id; 1 where it is not named. models: a model's own DrainTimePolicy options, by its id.
    """

    def __init__(
        self,
        gpus: float,
        drain_s: float = 30.0,
        gpus_per_replica: Mapping[str, float] | None = None,
        models: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self._gpus, self._drain_s = gpus, drain_s
        self._gpus_per_replica, self._options = dict(gpus_per_replica or {}), dict(models or {})
        self._policies: dict[str, DrainTimePolicy] = {}

    def __call__(
        self, contexts: Mapping[Any, Context]
    ) -> tuple[dict[Any, float], dict[Any, dict[str, Any]]]:
        """The wanted numbers of replicas, which Serve keeps within each model's bounds and delays."""
        try:
            return self._wanted(contexts), {}
        except Exception:
            logger.exception("The autoscaling policy failed; the numbers of replicas stay")
            return {key: context.target_num_replicas for key, context in contexts.items()}, {}

    def _wanted(self, contexts: Mapping[Any, Context]) -> dict[Any, float]:
        models = {
            key: self._claim(c)
            for key, c in contexts.items()
            if c.deployment_name.startswith(MODEL_PREFIX)
        }
        fair = self._share(models, {key: claim.least for key, claim in models.items()})
        models = {key: replace(claim, most=fair[key]) for key, claim in models.items()}
        now = self._share(models, {key: contexts[key].target_num_replicas for key in models})
        return {key: min(now[key], fair[key]) for key in models}

    def _claim(self, context: Context) -> "_Claim":
        model_id = context.deployment_name.removeprefix(MODEL_PREFIX)
        if (policy := self._policies.get(model_id)) is None:
            policy = DrainTimePolicy(
                **{"drain_s": self._drain_s, **self._options.get(model_id, {})}
            )
            self._policies[model_id] = policy
        least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
        wish = max(least, min(policy.wanted(context), most))
        return _Claim(
            self._gpus_per_replica.get(model_id, 1.0), policy.work_s(context), least, wish
        )

    def _share(self, models: Mapping[Any, "_Claim"], replicas: dict[Any, int]) -> dict[Any, int]:
        """What is free of the GPUs besides those of `replicas`, given out."""
        free = self._gpus - sum(claim.gpus * replicas[key] for key, claim in models.items())
        while fitting := [
            key
            for key, claim in models.items()
            if replicas[key] < claim.most and claim.gpus <= free
        ]:
            neediest = max(fitting, key=lambda key: models[key].need(replicas[key]))
            replicas[neediest] += 1
            free -= models[neediest].gpus
        return replicas


@dataclass(frozen=True)
class _Claim:
    """What one model needs: GPUs of one replica, seconds of work, and bounds of its replicas."""

    gpus: float
    work_s: float
    least: int
    most: int

    def need(self, replicas: int) -> tuple[float, float]:
        """Seconds of work to each GPU; without any, the work alone says who comes first."""
        return self.work_s / (self.gpus * replicas) if replicas else math.inf, self.work_s


def _mean(by_replica: Mapping[Any, float] | None) -> float | None:
    """Of the replicas that know, which report more than 0."""
    known = [value for value in _finite(by_replica) if value > 0]
    return sum(known) / len(known) if known else None


def _finite(by_replica: Mapping[Any, float] | None) -> list[float]:
    return [value for value in (by_replica or {}).values() if math.isfinite(value)]
