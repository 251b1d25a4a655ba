"""A replica with a poison pill: one prompt kills its process, another one makes its engine fail once."""

import os
import signal
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from ray.serve import Application

from serve_app import app
from serve_app.deployments.replica import MusicGenReplica
from serve_app.deployments.transport import PackedChunk
from serve_app.types import GenerationRequest, StreamItem

POISON = "poison"
ENGINE_FAILURE = "engine failure"
_ARMED = Path(tempfile.gettempdir()) / f"musicgen-fragile-{os.getuid()}"


def _fall_off(*_: Any) -> NoReturn:
    raise RuntimeError("The card has fallen off the bus")


class Fragile(MusicGenReplica):
    """A MusicGenReplica that the prompt POISON kills.

    ENGINE_FAILURE makes the next step of its engine raise, once after `arm`.
    """

    @staticmethod
    def arm() -> None:
        _ARMED.touch()

    async def generate(
        self, request: GenerationRequest
    ) -> AsyncGenerator[StreamItem | PackedChunk, None]:
        if request.prompt == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        if request.prompt == ENGINE_FAILURE and _ARMED.exists():
            _ARMED.unlink()
            self._engine.loop.batch.step = _fall_off  # type: ignore[assignment]
        async for item in super().generate(request):
            yield item


def build_app(args: dict[str, Any]) -> Application:
    """Build the application of serve_app, with fragile replicas."""
    with patch.object(app, "MusicGenReplica", Fragile):
        return app.build_app(args)
