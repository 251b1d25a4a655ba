"""A replica with a poison pill: one prompt kills its process."""

import os
import signal
from collections.abc import AsyncGenerator
from typing import Any
from unittest.mock import patch

from ray.serve import Application

from serve_app import app
from serve_app.deployments.replica import MusicGenReplica
from serve_app.deployments.transport import PackedChunk
from serve_app.types import GenerationRequest, StreamItem

POISON = "poison"


class Fragile(MusicGenReplica):
    """A MusicGenReplica that the prompt POISON kills."""

    async def generate(
        self, request: GenerationRequest
    ) -> AsyncGenerator[StreamItem | PackedChunk, None]:
        if request.prompt == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        async for item in super().generate(request):
            yield item


def build_app(args: dict[str, Any]) -> Application:
    """Build the application of serve_app, with fragile replicas."""
    with patch.object(app, "MusicGenReplica", Fragile):
        return app.build_app(args)
