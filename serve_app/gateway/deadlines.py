"""Deadlines: a request that outlives its deadline is given up."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from time import time

from serve_app.errors import DeadlineExceeded
from serve_app.gateway.generator import Generator
from serve_app.types import AudioChunk, GenerationRequest, ReplicaStatus


class DeadlineGenerator:
    """Ends each request at its deadline, whether it waits or runs by then."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """Pass the chunks on. Raises DeadlineExceeded besides."""
        async with contextlib.aclosing(self._generator.generate(request)) as chunks:
            while True:
                left_s = None if request.deadline is None else request.deadline - time()
                try:
                    chunk = await asyncio.wait_for(anext(chunks), left_s)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise DeadlineExceeded(
                        "The piece was not finished in the time that its caller gave it."
                    ) from error
                yield chunk

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        return await self._generator.replicas(model_id)

    def wake(self, model_id: str) -> None:
        self._generator.wake(model_id)
