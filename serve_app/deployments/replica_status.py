"""Status of replicas, read past the queue of their requests.

Every call through a DeploymentHandle waits for one of the replica's `max_ongoing_requests`, so that
a saturated replica would look absent. Serve's own calls of `record_routing_stats` do not wait. This
module sends the same call to the actors of the running replicas. Ray Serve 2.60 names no public way
from a handle to these actors: the private names are here alone, and tests/service holds them.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from serve_app.model_status import EngineStats, LoadedModel, ReplicaStatus

TIMEOUT_S = 2.0


def to_plain(status: ReplicaStatus) -> dict[str, Any]:
    """Render a status as plain values: Serve's controller reads it, and imports no package of ours."""
    return asdict(status)


def from_plain(values: Mapping[str, Any]) -> ReplicaStatus:
    return ReplicaStatus(LoadedModel(**values["model"]), EngineStats(**values["stats"]))


async def running_replicas(handle: DeploymentHandle) -> list[ReplicaStatus]:
    """Ask the deployment's running replicas; leave out those that do not answer within TIMEOUT_S."""
    calls = [actor.record_routing_stats.remote().future() for actor in running_actors(handle)]
    if not calls:
        return []
    answers = await asyncio.gather(*map(_answer, calls))
    return [answer for answer in answers if answer is not None]


async def _answer(call: Any) -> ReplicaStatus | None:
    try:
        return from_plain(await asyncio.wait_for(asyncio.wrap_future(call), TIMEOUT_S))
    except (RayError, TimeoutError):  # died, unreachable, or not responding
        return None


def connect(handle: DeploymentHandle) -> None:
    """Make the handle learn the running replicas. Has no effect on one that has."""
    if not handle.is_initialized:
        handle._init()


def running_actors(handle: DeploymentHandle) -> list[Any]:
    """List the actors to which the handle would send a request; none before it has learnt them."""
    connect(handle)
    router = handle._router._asyncio_router._request_router
    replicas = router.curr_replicas.values() if router is not None else ()
    return [replica._actor_handle for replica in list(replicas)]
