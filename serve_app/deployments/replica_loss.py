"""The cause of a replica's loss, where Serve calls replicas by gRPC.

A gRPC call to a replica that is gone raises ActorUnavailableError, whether its process crashed or
its node was lost. Ray's control store (GCS) tells the two apart. Ray 2.60 has no public call for one
actor that needs no dashboard: the private name is here alone, and tests/service holds it.
"""

import asyncio
from time import monotonic

import ray
from ray._private.state import actors
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve._private.constants import RAY_SERVE_USE_GRPC_BY_DEFAULT

_PATIENCE_S = 2.0  # for which the control store may not know yet
_POLL_S = 0.1


async def explained(error: Exception) -> Exception:
    """Return ActorDiedError in place of an error of gRPC, if the actor's process has crashed.

    Errors of other calls are returned as they are.
    """
    if not isinstance(error, ActorUnavailableError) or not RAY_SERVE_USE_GRPC_BY_DEFAULT:
        return error
    actor_id: str | None = error.actor_id
    has_crashed = actor_id is not None and await _has_crashed(actor_id)
    crash: Exception = ActorDiedError()
    return crash if has_crashed else error


async def _has_crashed(actor_id: str) -> bool:
    """Wait until the actor's end is known; test that its node lives."""
    deadline = monotonic() + _PATIENCE_S
    while monotonic() < deadline:
        node_id = await asyncio.to_thread(_node_of_dead, actor_id)
        if node_id is not None:
            return node_id in await asyncio.to_thread(_living_nodes)
        await asyncio.sleep(_POLL_S)
    return False


def _node_of_dead(actor_id: str) -> str | None:
    """Return the id of the node on which the actor was; None while it counts as alive."""
    known = actors(actor_id)
    return str(known["Address"]["NodeID"]) if known and known["State"] == "DEAD" else None


def _living_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
