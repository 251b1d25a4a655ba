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

    def record_routing_stats(self) -> dict[str, Any]:
        self._asked += 1
        return super().record_routing_stats()

    def asked(self) -> int:
        """Return how often its status was asked for, by Serve's controller too."""
        return self._asked

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Any, None]:
        if request.prompt == HELD:
            await asyncio.Event().wait()
        async for item in super().generate(request):
            yield item
