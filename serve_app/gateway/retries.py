"""Requests that outlive replicas: what a dead one made is made again by another, from the same seed."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import replace

from serve_app.errors import GenerationFailed, ReplicaFailed, ReplicaUnreachable
from serve_app.gateway.generator import Generator
from serve_app.gateway.observer import RequestObserver
from serve_app.types import AudioChunk, GenerationRequest, ReplicaStatus

logger = logging.getLogger(__name__)

TRIES = 5


class Retries:
    """A generator whose requests are sent again when their replica fails; the caller gets what it has not had yet.

    A request may be what its replica died of, unless that just went out of reach, as with its node. So those that have
    met a failure are sent again one after the other, each once the one before it has music: one at whose turn a second
    replica fails is given up, and the others go on.
    """

    def __init__(self, generator: Generator, observer: RequestObserver) -> None:
        self._generator, self._observer = generator, observer
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """The request needs its seed. Raises GenerationFailed where it was given up, ReplicaFailed after TRIES."""
        sent, failures, suspect = 0, 0, False
        while True:
            generate = self._in_turn if suspect else self._generator.generate
            try:
                async with contextlib.aclosing(generate(request)) as chunks:
                    made = 0
                    async for chunk in chunks:
                        samples = chunk.samples[:, max(0, sent - made) :]
                        made += chunk.samples.shape[1]
                        if made >= sent:
                            yield replace(chunk, samples=samples)
                            sent = made
                return
            except ReplicaFailed as error:
                failures += 1
                if failures == TRIES:
                    raise
                suspect = suspect or not isinstance(error, ReplicaUnreachable)
                self._observer.retried(request.model)
                logger.warning("Request %s is sent again: %s", request.request_id, error.message)

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        return await self._generator.replicas(model_id)

    def wake(self, model_id: str) -> None:
        self._generator.wake(model_id)

    async def _in_turn(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        async with (
            contextlib.AsyncExitStack() as turn,
            contextlib.aclosing(self._generator.generate(request)) as chunks,
        ):
            await turn.enter_async_context(self._turns[request.model])
            has_music = False
            try:
                async for chunk in chunks:
                    if chunk.samples.shape[1] and not has_music:
                        has_music = True
                        await turn.aclose()
                    yield chunk
            except ReplicaFailed as error:
                if has_music or isinstance(error, ReplicaUnreachable):
                    raise
                raise GenerationFailed(
                    "two replicas failed when they were to make this piece"
                ) from error
