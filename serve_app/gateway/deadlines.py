"""Deadlines: a request that outlives its deadline is aborted."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from time import time

from serve_app.errors import DeadlineExceeded
from serve_app.gateway.generator import Generator
from serve_app.types import GenerationRequest, StreamItem


class DeadlineGenerator:
    """Aborts each request at its deadline, whether it waits or runs by then."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Pass the items on. Raises DeadlineExceeded."""
        async with contextlib.aclosing(self._generator.generate(request)) as items:
            while True:
                try:
                    # `wait_for` would make a task of each item, for whose turn even a refusal waits.
                    async with asyncio.timeout(_left_s(request)):
                        item = await anext(items)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise DeadlineExceeded(
                        "The request deadline passed before the track was finished. "
                        "Allow more time, or ask for a shorter track."
                    ) from error
                yield item


def _left_s(request: GenerationRequest) -> float | None:
    """Seconds until the deadline, None without one. Raises TimeoutError after it."""
    if request.deadline is None:
        return None
    left_s = request.deadline - time()
    if left_s <= 0:
        raise TimeoutError
    return left_s
