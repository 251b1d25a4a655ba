"""A replica that keeps its requests until they are cancelled, or makes one of a prompt at once."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from serve_app.deployments.replica import MusicGenReplica
from serve_app.types import GenerationRequest

HELD = "held"


class Holding(MusicGenReplica):
    """A MusicGenReplica that never begins tracks of the prompt HELD, and counts who asks for its status."""

    _asked = 0
    _held = 0

    def record_routing_stats(self) -> dict[str, Any]:
        self._asked += 1
        return super().record_routing_stats()

    def asked(self) -> int:
        """Return how often its status was asked for, by Serve's controller too."""
        return self._asked

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Any, None]:
        if request.prompt == HELD:
            await self._hold()
        async for item in super().generate(request):
            yield item

    async def _hold(self) -> None:
        self._held += 1
        try:
            await asyncio.Event().wait()
        finally:
            self._held -= 1


class Counting(Holding):
    """A Holding replica whose status counts the requests that it keeps as queued ones."""

    def record_routing_stats(self) -> dict[str, Any]:
        status = super().record_routing_stats()
        status["stats"]["queued_requests"] += self._held
        return status
