"""Streams of all ingress replicas: each stream is with the replica that created it."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.errors import ReplicaUnreachable, ServeAppError, StreamNotFound
from serve_app.gateway.stream_store import StreamStore
from serve_app.gateway.streams import StreamPart, StreamSource, StreamState

_TIMEOUT_S = 10.0  # beyond the seconds that an owner waits for the next bytes
_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_Answer = TypeVar("_Answer", StreamState, StreamPart)


class PeerStreams:
    """The gateway's Streams over the ingress replicas.

    A stream that another replica owns is asked for with a call to all of them, of which one
    answers. It costs as many small calls as there are ingress replicas for each part of the file
    (about one a second of music while the track is made, 1 MiB afterwards).

    store: streams of this replica.
    """

    def __init__(self, store: StreamStore) -> None:
        self._store = store
        self._peers: DeploymentHandle | None = None

    def create(self, source: StreamSource) -> str:
        return self._store.create(source)

    async def describe(self, stream_id: str, /) -> StreamState:
        if self._store.has(stream_id):
            return await self._store.describe(stream_id)
        answers = await self._ask(stream_id, "describe_stream", stream_id)
        return _only(answers, StreamState)

    async def advance(
        self, stream_id: str, start: int, limit: int, version: int | None, /
    ) -> StreamPart:
        if self._store.has(stream_id):
            return await self._store.advance(stream_id, start, limit, version)
        answers = await self._ask(stream_id, "advance_stream", stream_id, start, limit, version)
        return _only(answers, StreamPart)

    async def close(self) -> None:
        await self._store.close()

    async def _ask(self, stream_id: str, method: str, *args: object) -> list[Any]:
        """Ask every ingress replica; return the answers of all, with their errors."""
        if not _ID.fullmatch(stream_id):
            return []
        if self._peers is None:
            self._peers = await asyncio.to_thread(_own_handle)
        peers: DeploymentHandle = self._peers
        response = peers.broadcast(method, *args)
        try:
            answers: list[Any] = await response.results_async(
                timeout_s=_TIMEOUT_S, return_exceptions=True
            )
        except (DeploymentUnavailableError, TimeoutError) as error:
            raise ReplicaUnreachable(
                "The replica that keeps this stream did not answer. Send the same request again."
            ) from error
        return answers


def _own_handle() -> DeploymentHandle:
    """Make a handle to the deployment of this replica."""
    context = serve.get_replica_context()
    return serve.get_deployment_handle(context.deployment, context.app_name)


def _only(answers: Sequence[Any], kind: type[_Answer]) -> _Answer:
    """Return the owner's answer, or raise its error. Raises StreamNotFound without an owner."""
    for answer in answers:
        cause = answer.cause if isinstance(answer, RayTaskError) else answer
        if isinstance(cause, ServeAppError):
            raise cause
        if isinstance(cause, kind):
            return cause
    raise StreamNotFound("This stream does not exist or has expired: ask for a new one")
