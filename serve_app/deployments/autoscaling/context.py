"""Serve's view of a deployment, and the metrics that replicas add to it."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

# Metrics that MusicGenReplica.record_autoscaling_stats reports.
WAITING_AUDIO_S = "waiting_audio_s"
AUDIO_S = "audio_s"
JOBS_AUDIO_S = "jobs_audio_s"  # in the store of jobs, which each replica may be told
MEAN_AUDIO_S = "mean_audio_s"
AUDIO_S_PER_S = "audio_s_per_s"
MADE_AUDIO_S_PER_S = "made_audio_s_per_s"
CPU_SHARE = "cpu_share"  # of Ingress.record_autoscaling_stats
MODEL_PREFIX = "MusicGen:"  # a model's deployment is named by this prefix and the model's id


class Context(Protocol):
    """Serve's view of one deployment. aggregated_metrics: by metric, then by replica.

    target_num_replicas: asked for; current_num_replicas: those that run.
    """

    deployment_name: str
    target_num_replicas: int
    current_num_replicas: int
    total_num_requests: float
    total_queued_requests: float | None
    current_time: float | None
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]]: ...


def total(context: Context, metric: str) -> float:
    """Sum over the replicas."""
    return sum(_finite(context, metric))


def largest(context: Context, metric: str) -> float:
    return max(_finite(context, metric), default=0.0)


def mean(context: Context, metric: str) -> float | None:
    """Mean over the replicas that have measured the metric: a value of 0 is not yet one."""
    known = [value for value in _finite(context, metric) if value > 0]
    return sum(known) / len(known) if known else None


def _finite(context: Context, metric: str) -> list[float]:
    by_replica = (context.aggregated_metrics or {}).get(metric) or {}
    return [value for value in by_replica.values() if math.isfinite(value)]
