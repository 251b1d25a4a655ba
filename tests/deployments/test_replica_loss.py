"""A crash of a replica, told from the loss of its node where gRPC reports both alike."""

from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError

from serve_app.deployments import replica_loss
from serve_app.deployments.replica_errors import as_serve_app_error
from serve_app.deployments.replica_loss import explained
from serve_app.errors import ReplicaFailed, ReplicaUnreachable, ServeAppError

ACTOR = "ab" * 16
LIVING = "node-1"
LOST = "node-2"


@pytest.fixture
def grpc(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Calls by gRPC, and what Ray's control store knows of ACTOR: fill it in."""
    known: dict[str, Any] = {}
    nodes = [{"NodeID": LIVING, "Alive": True}, {"NodeID": LOST, "Alive": False}]
    monkeypatch.setattr(replica_loss, "RAY_SERVE_USE_GRPC_BY_DEFAULT", True)
    monkeypatch.setattr(replica_loss, "_POLL_S", 0.01)
    monkeypatch.setattr(replica_loss, "actors", known.get)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    return known


def gone() -> ActorUnavailableError:
    return ActorUnavailableError("Actor is unavailable.", bytes.fromhex(ACTOR))


@pytest.mark.parametrize(
    ("state", "node", "kind"),
    [
        ("DEAD", LIVING, ReplicaFailed),
        ("DEAD", LOST, ReplicaUnreachable),
        ("ALIVE", LIVING, ReplicaUnreachable),
    ],
    ids=["a crash", "a lost node", "a connection that broke"],
)
async def test_the_control_store_tells_a_crash(
    grpc: dict[str, Any],
    state: str,
    node: str,
    kind: type[ServeAppError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica_loss, "_PATIENCE_S", 0.05 if state == "ALIVE" else 60.0)
    grpc[ACTOR] = {"State": state, "Address": {"NodeID": node}}
    assert type(as_serve_app_error(await explained(gone()))) is kind


async def test_an_unknown_actor_counts_as_unreachable(
    grpc: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_loss, "_PATIENCE_S", 0.05)
    assert ACTOR not in grpc
    assert type(as_serve_app_error(await explained(gone()))) is ReplicaUnreachable


async def test_other_errors_are_left_alone(
    grpc: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (RuntimeError("a"), ActorDiedError()):
        assert await explained(error) is error
    grpc[ACTOR] = {"State": "DEAD", "Address": {"NodeID": LIVING}}
    monkeypatch.setattr(replica_loss, "RAY_SERVE_USE_GRPC_BY_DEFAULT", False)
    error = gone()
    assert await explained(error) is error, "Ray's own calls tell a crash themselves"
