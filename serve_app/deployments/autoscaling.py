"""Autoscaling policies: replicas by the seconds of music that clients wait for.

Ray Serve pickles this module by value and calls it on the head node, so it imports the standard
library alone.
"""

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Protocol

logger = logging.getLogger("ray.serve")

# Metrics that MusicGenReplica.record_autoscaling_stats reports.
AUDIO_S = "audio_s"
WAITING_AUDIO_S = "waiting_audio_s"
JOBS_AUDIO_S = "jobs_audio_s"  # in the store of jobs, which each replica may be told
MEAN_AUDIO_S = "mean_audio_s"
AUDIO_S_PER_S = "audio_s_per_s"
MADE_AUDIO_S_PER_S = "made_audio_s_per_s"
ARRIVALS_S = 60.0  # seconds over which the arrival rate is measured
MODEL_PREFIX = "MusicGen:"  # a model's deployment is named by this prefix and the model's id


class Context(Protocol):
    """Serve's view of one deployment. aggregated_metrics: by metric, then by replica."""

    deployment_name: str
    target_num_replicas: int
    total_queued_requests: float | None
    current_time: float | None
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]]: ...


class DrainTimePolicy:
    """Policy that keeps up with arriving requests and drains the queue within `drain_s` seconds.

        replicas = ceil((arrivals / utilization + queued / drain_s) / speed), at least 1 with work

    arrivals: seconds of music requested per second, over the last ARRIVALS_S.
    utilization: fraction of its time that a replica is to be busy.
    queued: seconds of music that wait for a slot. Requests that wait outside the replicas are only
        counted; each is taken to be as long as the mean of the replicas' recent requests, or
        `audio_s` without any.
    total: seconds of music queued and running. Running tracks stay where they are, so a new replica
        would not shorten them: they count in `arrivals` alone.
    Jobs in their store are part of `queued` and of `total`, and not of `arrivals`, because they come
        in large numbers at once. Each replica may have been told of them: the largest number counts.
    speed: seconds of music per second of one replica: the mean of those that have measured it, or
        `audio_s_per_s`.
    """

    def __init__(
        self,
        drain_s: float = 30.0,
        utilization: float = 0.8,
        audio_s_per_s: float = 8.0,
        audio_s: float = 30.0,
    ) -> None:
        self._drain_s = drain_s
        self._utilization = utilization
        self._audio_s_per_s = audio_s_per_s
        self._audio_s = audio_s
        self._arrivals = ArrivalRate()

    def __call__(self, context: Context) -> tuple[float, dict[str, Any]]:
        """Decide the number of replicas, before Serve's bounds and delays. Never raises."""
        try:
            return self.wanted(context), {}
        except Exception:  # a policy that raises leaves the application stuck in DEPLOYING
            logger.exception("The autoscaling policy failed; the number of replicas stays")
            return context.target_num_replicas, {}

    def wanted(self, context: Context) -> int:
        """Compute the class's formula."""
        jobs_s = _largest(context, JOBS_AUDIO_S)
        queued_s = _sum(context, WAITING_AUDIO_S) + self._outside_s(context) + jobs_s
        total_s = self._total_s(context)
        now = monotonic() if context.current_time is None else context.current_time
        made = _sum(context, MADE_AUDIO_S_PER_S)
        arrivals = self._arrivals.update(now, total_s - jobs_s, made)
        rate = arrivals / self._utilization + queued_s / self._drain_s
        return max(math.ceil(rate / self._speed(context)), 1 if total_s > 0 else 0)

    def work_s(self, context: Context) -> float:
        """Seconds that one replica needs for all music queued and running."""
        return self._total_s(context) / self._speed(context)

    def _speed(self, context: Context) -> float:
        return _mean(context, AUDIO_S_PER_S) or self._audio_s_per_s

    def _total_s(self, context: Context) -> float:
        held_s = _sum(context, AUDIO_S) + self._outside_s(context)
        return held_s + _largest(context, JOBS_AUDIO_S)

    def _outside_s(self, context: Context) -> float:
        """Seconds of music of the requests that wait outside the replicas."""
        length_s = _mean(context, MEAN_AUDIO_S) or self._audio_s
        return (context.total_queued_requests or 0.0) * length_s


class ArrivalRate:
    """Seconds of music requested per second, over the last ARRIVALS_S.

    Requested is what was made plus what is held more than before. Until ARRIVALS_S have been seen,
    as much is taken to have been requested before as was made at first.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()  # (time, music requested until then)
        self._made_s = 0.0

    def update(self, now: float, held_s: float, made_s_per_s: float) -> float:
        """Take the present seconds of music queued and running, and the rate of generation."""
        if not self._seen:
            self._seen.append((now - ARRIVALS_S, held_s - made_s_per_s * ARRIVALS_S))
            self._made_at = now
        self._made_s += made_s_per_s * (now - self._made_at)
        self._made_at = now
        self._seen.append((now, held_s + self._made_s))
        while now - self._seen[1][0] >= ARRIVALS_S:
            self._seen.popleft()
        then, before_s = self._seen[0]
        return max(0.0, held_s + self._made_s - before_s) / (now - then)


class BudgetPolicy:
    """The `autoscaling_policy` of an application: all its models share a number of GPUs.

    Each model first gets its `min_replicas`, then as many replicas as its DrainTimePolicy wants
    while GPUs are free. GPUs are assigned one replica at a time: first to models with work and
    no replica, then to the model with the most seconds of work per GPU. A model waits to grow until
    another has returned its GPUs, so no more than `gpus` are in use.
    Exception: Serve itself starts the first replica of a model with none.

    gpus_per_replica: by model id, default 1. models: options of a model's own DrainTimePolicy, by
    model id.
    """

    def __init__(
        self,
        gpus: float,
        drain_s: float = 30.0,
        gpus_per_replica: Mapping[str, float] | None = None,
        models: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self._gpus = gpus
        self._drain_s = drain_s
        self._gpus_per_replica = dict(gpus_per_replica or {})
        self._options = dict(models or {})
        self._policies: dict[str, DrainTimePolicy] = {}

    def __call__(
        self, contexts: Mapping[Any, Context]
    ) -> tuple[dict[Any, float], dict[Any, dict[str, Any]]]:
        """Decide the numbers of replicas, before Serve's bounds and delays. Never raises."""
        try:
            return self._wanted(contexts), {}
        except Exception:  # see DrainTimePolicy
            logger.exception("The autoscaling policy failed; the numbers of replicas stay")
            return {key: context.target_num_replicas for key, context in contexts.items()}, {}

    def _wanted(self, contexts: Mapping[Any, Context]) -> dict[Any, float]:
        """Take the lesser of two shares: of a division from scratch, and of the GPUs free now."""
        claims = {
            key: self._claim(context)
            for key, context in contexts.items()
            if context.deployment_name.startswith(MODEL_PREFIX)
        }
        fair = self._share(claims, {key: claim.least for key, claim in claims.items()})
        claims = {key: replace(claim, most=fair[key]) for key, claim in claims.items()}
        now = self._share(claims, {key: contexts[key].target_num_replicas for key in claims})
        return {key: min(now[key], fair[key]) for key in claims}

    def _claim(self, context: Context) -> "_Claim":
        model_id = context.deployment_name.removeprefix(MODEL_PREFIX)
        policy = self._policy(model_id)
        least = context.capacity_adjusted_min_replicas
        most = context.capacity_adjusted_max_replicas
        return _Claim(
            gpus=self._gpus_per_replica.get(model_id, 1.0),
            work_s=policy.work_s(context),
            least=least,
            most=max(least, min(policy.wanted(context), most)),
        )

    def _policy(self, model_id: str) -> DrainTimePolicy:
        """The model's own policy, made at its first use."""
        if model_id not in self._policies:
            options = {"drain_s": self._drain_s, **self._options.get(model_id, {})}
            self._policies[model_id] = DrainTimePolicy(**options)
        return self._policies[model_id]

    def _share(self, claims: Mapping[Any, "_Claim"], replicas: dict[Any, int]) -> dict[Any, int]:
        """Add replicas to `replicas`, the neediest model's first, until no more GPUs are free."""
        free = self._gpus - sum(claim.gpus * replicas[key] for key, claim in claims.items())
        while fitting := [
            key
            for key, claim in claims.items()
            if replicas[key] < claim.most and claim.gpus <= free
        ]:
            neediest = max(fitting, key=lambda key: claims[key].need(replicas[key]))
            replicas[neediest] += 1
            free -= claims[neediest].gpus
        return replicas


@dataclass(frozen=True)
class _Claim:
    """A model's GPUs per replica, seconds of work, and bounds of its number of replicas."""

    gpus: float
    work_s: float
    least: int
    most: int

    def need(self, replicas: int) -> tuple[float, float]:
        """Sort key: seconds of work per GPU, infinite without a replica; then seconds of work."""
        per_gpu = self.work_s / (self.gpus * replicas) if replicas else math.inf
        return per_gpu, self.work_s


def _sum(context: Context, metric: str) -> float:
    return sum(_finite(context, metric))


def _largest(context: Context, metric: str) -> float:
    return max(_finite(context, metric), default=0.0)


def _mean(context: Context, metric: str) -> float | None:
    """Mean over the replicas that have measured the metric: a value of 0 is not yet one."""
    known = [value for value in _finite(context, metric) if value > 0]
    return sum(known) / len(known) if known else None


def _finite(context: Context, metric: str) -> list[float]:
    by_replica = (context.aggregated_metrics or {}).get(metric) or {}
    return [value for value in by_replica.values() if math.isfinite(value)]
