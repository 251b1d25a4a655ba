"""Replicas of a deployment that works on the CPU, by the share of it that they use."""

import logging
import math
from typing import Any

from serve_app.deployments.autoscaling.context import CPU_SHARE, Context, total

logger = logging.getLogger("ray.serve")


class CpuPolicy:
    """Policy that keeps the CPU of each replica busy for the share `target_cpu`.

        replicas = ceil(max(busy / target_cpu, requests / target_requests))

    busy: the sum of the replicas' CPU_SHARE, in which 1 is all that a replica can use.
    target_requests: bound of the requests per replica, as each holds memory and connections.
    """

    def __init__(self, target_cpu: float = 0.6, target_requests: float = 200.0) -> None:
        self._target_cpu = target_cpu
        self._target_requests = target_requests

    def __call__(self, context: Context) -> tuple[float, dict[str, Any]]:
        """Decide the number of replicas, before Serve's bounds and delays. Never raises."""
        try:
            return self.wanted(context), {}
        except Exception:  # see DrainTimePolicy
            logger.exception("The autoscaling policy failed; the number of replicas stays")
            return context.target_num_replicas, {}

    def wanted(self, context: Context) -> int:
        """Compute the class's formula."""
        by_cpu = total(context, CPU_SHARE) / self._target_cpu
        return math.ceil(max(by_cpu, context.total_num_requests / self._target_requests))
