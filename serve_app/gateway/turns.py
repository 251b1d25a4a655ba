"""Turns of the requests that a crashed replica leaves: one at a time for each model."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve_app.gateway.permits.allowance import Allowance, Want
from serve_app.gateway.permits.permits import Permits


class Turns:
    """A lock for each model, over all processes whose permits have one coordinator.

    The turn of a process that ends passes on when its lease does.
    """

    def __init__(self, permits: Permits) -> None:
        self._permits = permits
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def turn(self, model_id: str) -> AsyncIterator[None]:
        """Wait for the model's turn, and hold it meanwhile."""
        turn = Want(Allowance(f"turn:{model_id}", 1), 1)
        async with self._locks[model_id]:
            await self._permits.take(turn, is_patient=True)
            try:
                yield
            finally:
                self._permits.give_back(turn)
