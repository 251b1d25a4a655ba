"""Replicas of one model, by the music that is made and that waits."""

import logging
import math
from time import monotonic
from typing import Any

from serve_app.deployments.autoscaling.context import (
    AUDIO_S,
    AUDIO_S_PER_S,
    JOBS_AUDIO_S,
    MADE_AUDIO_S_PER_S,
    MEAN_AUDIO_S,
    WAITING_AUDIO_S,
    Context,
    largest,
    mean,
    total,
)
from serve_app.deployments.autoscaling.stalled_starts import StalledStarts

logger = logging.getLogger("ray.serve")


class DrainTimePolicy:
    """Policy that keeps replicas partly busy, and drains the queue within `drain_s` seconds.

        replicas = ceil((made / utilization + queued / drain_s) / speed), at least 1 with work

    made: seconds of music made per second. Running tracks stay where they are, so that a new replica
        would not shorten them: they count by the capacity that they take.
    utilization: fraction of its time that a replica is to be busy.
    queued: seconds of music that wait for a slot. Requests that wait outside the replicas are only
        counted; each is taken to be as long as the mean of the replicas' recent requests, or
        `audio_s` without any. Jobs in their store are part. Each replica may have been told of them:
        the largest number counts.
    speed: seconds of music per second of one replica: the mean of those that have measured it, or
        `audio_s_per_s`.
    give_up_s: see StalledStarts.
    """

    def __init__(
        self,
        drain_s: float = 30.0,
        utilization: float = 0.8,
        audio_s_per_s: float = 8.0,
        audio_s: float = 30.0,
        give_up_s: float = 900.0,
    ) -> None:
        self._drain_s = drain_s
        self._utilization = utilization
        self._audio_s_per_s = audio_s_per_s
        self._audio_s = audio_s
        self._starts = StalledStarts(give_up_s)

    def __call__(self, context: Context) -> tuple[float, dict[str, Any]]:
        """Decide the number of replicas, before Serve's bounds and delays. Never raises."""
        try:
            return min(self.wanted(context), self.limit(context)), {}
        except Exception:  # a policy that raises leaves the application stuck in DEPLOYING
            logger.exception("The autoscaling policy failed; the number of replicas stays")
            return context.target_num_replicas, {}

    def wanted(self, context: Context) -> int:
        """Compute the class's formula."""
        queued_s = total(context, WAITING_AUDIO_S) + self._unreported_s(context)
        made = total(context, MADE_AUDIO_S_PER_S)
        rate = made / self._utilization + queued_s / self._drain_s
        least = 1 if self._held_s(context) > 0 else 0
        return max(math.ceil(rate / self._speed(context)), least)

    def limit(self, context: Context) -> int:
        """Most replicas that it makes sense to ask for: those that run, while others do not start."""
        now = monotonic() if context.current_time is None else context.current_time
        return self._starts.limit(context, now)

    def work_s(self, context: Context) -> float:
        """Seconds that one replica needs for all music queued and running."""
        return self._held_s(context) / self._speed(context)

    def _speed(self, context: Context) -> float:
        return mean(context, AUDIO_S_PER_S) or self._audio_s_per_s

    def _held_s(self, context: Context) -> float:
        return total(context, AUDIO_S) + self._unreported_s(context)

    def _unreported_s(self, context: Context) -> float:
        """Seconds of music outside the replicas: of requests that wait there, and of jobs."""
        length_s = mean(context, MEAN_AUDIO_S) or self._audio_s
        return (context.total_queued_requests or 0.0) * length_s + largest(context, JOBS_AUDIO_S)
