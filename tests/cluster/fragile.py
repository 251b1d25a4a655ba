"""A replica that one prompt is deadly to."""

import os
import signal
from collections.abc import AsyncGenerator

from serve_app.deployments.replica import MusicGenReplica
from serve_app.types import GenerationRequest, StreamItem

POISON = "poison"


class Fragile(MusicGenReplica):
    """The real one, but for the poison."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        if request.prompt == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        async for item in super().generate(request):
            yield item
