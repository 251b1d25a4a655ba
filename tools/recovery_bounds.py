"""Seconds until Serve notices a failure, by its checks' periods and time-outs. docs/operations.md states them.

They hold while Serve's controller is not late itself. The start of the replacement comes after them.
"""

from ray.serve._private.constants import (
    PROXY_HEALTH_CHECK_TIMEOUT_S,
    PROXY_HEALTH_CHECK_UNHEALTHY_THRESHOLD,
    REPLICA_HEALTH_CHECK_UNHEALTHY_THRESHOLD,
)

from serve_app.config.deployment import DeploymentConfig

_PROXY_CHECKS: int = PROXY_HEALTH_CHECK_UNHEALTHY_THRESHOLD
_PROXY_TIMEOUT_S: float = PROXY_HEALTH_CHECK_TIMEOUT_S
_REPLICA_CHECKS: int = REPLICA_HEALTH_CHECK_UNHEALTHY_THRESHOLD
_LATEST = 1.1  # of a replica's period, which Serve draws between 0.9 and 1.1 of the configured one


def ended_replica_s(config: DeploymentConfig) -> float:
    """Compute the seconds until Serve starts another replica for one whose process has ended: one check."""
    return _LATEST * config.health_check_period_s


def hung_replica_s(config: DeploymentConfig) -> float:
    """Compute the seconds until Serve replaces a replica that answers no check.

    The next check begins when the one before has timed out, and not before its period.
    """
    period_s = ended_replica_s(config)
    timeout_s = config.health_check_timeout_s
    further = _REPLICA_CHECKS - 1
    return period_s + further * max(period_s, timeout_s) + timeout_s


def ended_proxy_s(period_s: float) -> float:
    """Compute the seconds until Serve replaces a proxy whose process has ended, which fails each check at once.

    period_s: RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S.
    """
    return _PROXY_CHECKS * period_s


def hung_proxy_s(period_s: float) -> float:
    """Compute the seconds until Serve replaces a proxy that answers no check."""
    return _PROXY_CHECKS * (period_s + _PROXY_TIMEOUT_S)
