"""The errors of replicas as callers see them. tests/service covers the ingress at work."""

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.deployments.ingress import as_serve_app_error
from serve_app.errors import (
    ModelLoading,
    PromptTooLong,
    QueueFull,
    ReplicaFailed,
    ReplicaUnreachable,
    ServeAppError,
)

PATH = "/root/secret/engine.py"


def from_replica(error: Exception) -> Exception:
    """Wrap the error as Ray does: a RayTaskError whose text is the remote traceback."""
    return RayTaskError("generate", f"Traceback in {PATH}", error).as_instanceof_cause()  # type: ignore[no-any-return]


def with_its_node() -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = "The actor died because its node has died. Node Id: 1"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (from_replica(PromptTooLong("Shorten it.")), PromptTooLong, "Shorten it."),
        (from_replica(QueueFull("Later.", retry_after_s=4.0)), QueueFull, "Later."),
        (
            from_replica(ValueError(PATH)),
            ServeAppError,
            "The model's replica met an unexpected error",
        ),
        (
            BackPressureError(num_queued_requests=3, max_queued_requests=3),
            QueueFull,
            "Too many requests are waiting",
        ),
        (ActorDiedError(), ReplicaFailed, "The replica crashed"),
        (
            with_its_node(),
            ReplicaUnreachable,
            "The replica that made this track became unreachable",
        ),
        (
            ActorUnavailableError("RPC error", None),
            ReplicaUnreachable,
            "The replica that made this track became unreachable",
        ),
        (
            DeploymentUnavailableError(DeploymentID("x", "y")),
            ModelLoading,
            "No replica of this model could be started",
        ),
        (RuntimeError(PATH), ServeAppError, "The model's replica met an unexpected error"),
    ],
    ids=str,
)
def test_errors_are_translated_and_tell_no_more_than_they_should(
    error: Exception, kind: type[ServeAppError], message: str
) -> None:
    raised = as_serve_app_error(error)
    assert type(raised) is kind
    assert raised.message.startswith(message)
    assert PATH not in raised.message


def test_retry_after_survives_the_way_from_the_replica() -> None:
    error = from_replica(QueueFull("Later.", retry_after_s=4.0))
    assert as_serve_app_error(error).retry_after_s == 4.0
