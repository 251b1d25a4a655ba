"""Retries: a track whose replica was lost is made again by another replica, from the same seed."""

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from serve_app.errors import GenerationFailed, ReplicaFailed, ReplicaUnreachable
from serve_app.gateway.generator import Generator
from serve_app.gateway.observer import RequestObserver
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.turns import Turns
from serve_app.types import AudioChunk, GenerationRequest, StreamItem

logger = logging.getLogger(__name__)

MAX_TRIES = 5


class Retries:
    """Sends a request again when its replica fails; the caller gets the audio that it still lacks.

    Poison-pill guard: a request that crashes replicas must not crash all of them. So the requests
    in flight on a crashed replica are retried one at a time, each once the one before it has audio;
    a request at whose turn a second replica crashes is failed. A replica that became unreachable,
    as with its node, does not count.

    permits: with a coordinator, a model's turns go round all ingress replicas. lost: called with
    the model's id when one of its replicas has failed.
    """

    def __init__(
        self,
        generator: Generator,
        observer: RequestObserver,
        permits: Permits | None = None,
        lost: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._generator = generator
        self._observer = observer
        self._lost = lost
        self._turns = Turns(permits or Permits())

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Pass the items on.

        Raises GenerationFailed for a poison pill, and ReplicaFailed after MAX_TRIES.
        """
        delivered = _Delivered()
        failures = 0
        is_suspect = False
        while True:
            generate = self._in_turn if is_suspect else self._generator.generate
            try:
                async with contextlib.aclosing(generate(request)) as items:
                    delivered.restart()
                    async for item in items:
                        unseen = delivered.unseen(item)
                        if unseen is not None:
                            yield unseen
                return
            except ReplicaFailed as error:
                self._lost(request.model)
                failures += 1
                if failures == MAX_TRIES:
                    raise
                is_suspect = is_suspect or not isinstance(error, ReplicaUnreachable)
                self._observer.retried(request.model)
                logger.warning("Retrying request %s: %s", request.request_id, error.message)

    async def _in_turn(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Generate in the model's turn, which passes on at the first audio.

        Raises GenerationFailed for a crash before that.
        """
        async with (
            contextlib.AsyncExitStack() as turn,
            contextlib.aclosing(self._generator.generate(request)) as items,
        ):
            await turn.enter_async_context(self._turns.turn(request.model))
            has_audio = False
            try:
                async for item in items:
                    if isinstance(item, AudioChunk) and not has_audio:
                        has_audio = True
                        await turn.aclose()
                    yield item
            except ReplicaFailed as error:
                if has_audio or isinstance(error, ReplicaUnreachable):
                    raise
                raise GenerationFailed(
                    "two replicas crashed while they made this track. "
                    "Change the prompt or the parameters."
                ) from error


class _Delivered:
    """Samples of one track: delivered to the caller over all tries, and made by the present try."""

    def __init__(self) -> None:
        self._delivered = 0
        self._made = 0

    def restart(self) -> None:
        self._made = 0

    def unseen(self, item: StreamItem) -> StreamItem | None:
        """Return the part of an item that the caller still lacks; None when it lacks nothing."""
        if not isinstance(item, AudioChunk):
            return item if self._made >= self._delivered else None
        samples = item.samples[:, max(0, self._delivered - self._made) :]
        self._made += item.samples.shape[1]
        if not samples.size:
            return None
        self._delivered = self._made
        return replace(item, samples=samples)
