"""Errors of calls to replicas -> this package's own."""

import logging

from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.errors import (
    ModelLoading,
    QueueFull,
    ReplicaFailed,
    ReplicaUnreachable,
    ServeAppError,
)

logger = logging.getLogger(__name__)

# Ray's text for an actor lost with its node. Until Ray notices, it is an ActorUnavailableError.
_NODE_DEATH = "its node has died"


def as_serve_app_error(error: Exception) -> ServeAppError:
    """Translate an error to this package's own.

    The text of a RayTaskError is a traceback: only its cause is used.
    """
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, ServeAppError):
        return cause
    if isinstance(cause, BackPressureError):
        return QueueFull(
            "Too many requests are waiting for this model. Send the request again later."
        )
    if isinstance(cause, RayActorError):
        return _replica_error(cause)
    if isinstance(cause, DeploymentUnavailableError):
        return ModelLoading(
            "No replica of this model could be started. Send the request again later."
        )
    logger.error("Unexpected error from a replica", exc_info=error)
    return ServeAppError("The model's replica met an unexpected error, which is in the log.")


def _replica_error(error: RayActorError) -> ReplicaFailed:
    """Tell a crash of the replica's process from the loss of its node or of the connection."""
    if isinstance(error, ActorDiedError) and _NODE_DEATH not in str(error):
        return ReplicaFailed(
            "The replica crashed while it made this track. Send the same request again."
        )
    return ReplicaUnreachable(
        "The replica that made this track became unreachable. Send the same request again."
    )
