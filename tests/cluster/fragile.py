"""A replica with a poison pill: one prompt kills its process."""

import os
import signal
from collections.abc import AsyncGenerator

from serve_app.deployments.replica import MusicGenReplica
from serve_app.types import AudioChunk, GenerationRequest

POISON = "poison"


class Fragile(MusicGenReplica):
    """A MusicGenReplica that the prompt POISON kills."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        if request.prompt == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        async for chunk in super().generate(request):
            yield chunk
