"""How many replicas a model needs, by the seconds of music that are waited for.

Ray Serve pickles this module by value and calls it on the head node: it imports the standard library alone.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any, Protocol

logger = logging.getLogger("ray.serve")

# What a replica reports of itself (MusicGenReplica.record_autoscaling_stats).
AUDIO_S, AUDIO_S_PER_S, MEAN_AUDIO_S = "audio_s", "audio_s_per_s", "mean_audio_s"


class Context(Protocol):
    """What Serve tells a policy of one deployment. aggregated_metrics: by name, then by replica."""

    target_num_replicas: int
    total_queued_requests: float | None
    aggregated_metrics: Mapping[str, Mapping[Any, float]]


class DrainTimePolicy:
    """As many replicas as make all the music that is wanted now within `drain_s` seconds.

    What replicas hold is known in seconds; what waits before them is counted, and taken to be as long as what they had
    lately. A replica that has reported nothing yet is taken for one like the others, or for one that makes
    `audio_s_per_s` seconds of music a second, of pieces of `audio_s` seconds.
    """

    def __init__(self, drain_s: float = 30.0, audio_s_per_s: float = 8.0, audio_s: float = 30.0) -> None:
        self._drain_s, self._audio_s_per_s, self._audio_s = drain_s, audio_s_per_s, audio_s

    def __call__(self, context: Context) -> tuple[float, dict[str, Any]]:
        """The wanted number of replicas, which Serve keeps within its bounds and delays."""
        try:
            return self._wanted(context), {}
        except Exception:  # a policy that raises leaves the application stuck in DEPLOYING
            logger.exception("The autoscaling policy failed; the number of replicas stays")
            return context.target_num_replicas, {}

    def _wanted(self, context: Context) -> float:
        metrics = context.aggregated_metrics or {}
        speed = _mean(metrics.get(AUDIO_S_PER_S)) or self._audio_s_per_s
        length = _mean(metrics.get(MEAN_AUDIO_S)) or self._audio_s
        held_s = sum(_finite(metrics.get(AUDIO_S)))
        waiting_s = (context.total_queued_requests or 0.0) * length
        return math.ceil((held_s + waiting_s) / (speed * self._drain_s))


def _mean(by_replica: Mapping[Any, float] | None) -> float | None:
    """Of the replicas that know, which report more than 0."""
    known = [value for value in _finite(by_replica) if value > 0]
    return sum(known) / len(known) if known else None


def _finite(by_replica: Mapping[Any, float] | None) -> list[float]:
    return [value for value in (by_replica or {}).values() if math.isfinite(value)]
