"""Replicas of several models that share a number of GPUs."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from serve_app.deployments.autoscaling.context import CPU_SHARE, MODEL_PREFIX, Context
from serve_app.deployments.autoscaling.cpu import CpuPolicy
from serve_app.deployments.autoscaling.drain_time import DrainTimePolicy

logger = logging.getLogger("ray.serve")


class BudgetPolicy:
    """The `autoscaling_policy` of an application: all its models share a number of GPUs.

    Each model first gets its `min_replicas`, then as many replicas as its DrainTimePolicy wants
    while GPUs are free. GPUs are assigned one replica at a time: first to models with work and
    no replica, then to the model with the most seconds of work per GPU. A model waits to grow until
    another has returned its GPUs, so no more than `gpus` are in use.
    Replicas that do not start are given up for a while (see StalledStarts), and their GPUs are free
    for other models. Exception: Serve itself starts the first replica of a model with none.
    Deployments that report CPU_SHARE scale by CpuPolicy.

    gpus_per_replica: by model id, default 1. models: options of a model's own DrainTimePolicy, by
    model id. cpu: options of CpuPolicy.
    """

    def __init__(
        self,
        gpus: float,
        drain_s: float = 30.0,
        gpus_per_replica: Mapping[str, float] | None = None,
        models: Mapping[str, Mapping[str, float]] | None = None,
        cpu: Mapping[str, float] | None = None,
    ) -> None:
        self._gpus = gpus
        self._drain_s = drain_s
        self._gpus_per_replica = dict(gpus_per_replica or {})
        self._options = dict(models or {})
        self._policies: dict[str, DrainTimePolicy] = {}
        self._cpu = CpuPolicy(**(cpu or {}))

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
        models = {
            key: context
            for key, context in contexts.items()
            if context.deployment_name.startswith(MODEL_PREFIX)
        }
        claims = {key: self._claim(context) for key, context in models.items()}
        fair = self._share(claims, {key: claim.least for key, claim in claims.items()})
        bounded = {key: replace(claim, most=fair[key]) for key, claim in claims.items()}
        now = self._share(bounded, {key: claim.present for key, claim in claims.items()})
        others = {
            key: float(self._cpu.wanted(context))
            for key, context in contexts.items()
            if key not in models and (context.aggregated_metrics or {}).get(CPU_SHARE)
        }
        return {key: min(now[key], fair[key]) for key in claims} | others

    def _claim(self, context: Context) -> "_Claim":
        model_id = context.deployment_name.removeprefix(MODEL_PREFIX)
        policy = self._policy(model_id)
        limit = policy.limit(context)
        least = context.capacity_adjusted_min_replicas
        most = min(policy.wanted(context), context.capacity_adjusted_max_replicas, limit)
        return _Claim(
            gpus=self._gpus_per_replica.get(model_id, 1.0),
            work_s=policy.work_s(context),
            least=min(least, limit),
            most=max(least, most),
            present=min(context.target_num_replicas, limit),
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
    """A model's GPUs per replica, seconds of work, and bounds of its number of replicas.

    present: those that run or may start.
    """

    gpus: float
    work_s: float
    least: int
    most: int
    present: int

    def need(self, replicas: int) -> tuple[float, float]:
        """Sort key: seconds of work per GPU, infinite without a replica; then seconds of work."""
        per_gpu = self.work_s / (self.gpus * replicas) if replicas else math.inf
        return per_gpu, self.work_s
