"""Replicas that were asked for and do not start, because there is no machine for them."""

import logging
import math
import sys

from serve_app.deployments.autoscaling.context import Context

logger = logging.getLogger("ray.serve")

RETRY_S = 300.0
MOST_RETRY_S = 3600.0


class StalledStarts:
    """Exponential backoff of a deployment's requests for replicas that no machine takes.

    When none has started for `give_up_s` seconds while some were asked for, the others are given up,
    which is logged, and asked for again after RETRY_S, then after twice that, up to MOST_RETRY_S.
    Serve withdraws its request after `downscale_delay_s`. A start ends the backoff.
    """

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._retry_s = RETRY_S
        self._running = 0
        self._since: float | None = None  # when the wait for a start began
        self._until = -math.inf  # no replica is asked for until then

    def limit(self, context: Context, now: float) -> int:
        """Return the number of replicas that may be asked for: any, or those that run."""
        running = context.current_num_replicas
        if running > self._running:
            self._retry_s = RETRY_S
            self._since = None
            self._until = -math.inf
        self._running = running
        if now < self._until:
            return running
        if context.target_num_replicas <= running:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._give_up_s:
            self._give_up(context, now)
            return running
        return sys.maxsize

    def _give_up(self, context: Context, now: float) -> None:
        logger.warning(
            "%s: %d of %d replicas did not start within %.0f s. They are given up and asked for "
            "again in %.0f s; look for machines at their limit, or a quota.",
            context.deployment_name,
            context.target_num_replicas - context.current_num_replicas,
            context.target_num_replicas,
            self._give_up_s,
            self._retry_s,
        )
        self._since = None
        self._until = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, MOST_RETRY_S)
