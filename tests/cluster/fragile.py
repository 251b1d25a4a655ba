"""A replica that prompts make fail: one kills its process, one its engine once, one holds its track once.

Its tracks wait for the gate.
"""

import asyncio
import ctypes
import os
import signal
import threading
from collections.abc import AsyncGenerator
from typing import Any, NoReturn
from unittest.mock import patch

from ray.serve import Application

from serve_app import app
from serve_app.deployments.replica import MusicGenReplica
from serve_app.deployments.transport import PackedChunk, unpack
from serve_app.types import AudioChunk, GenerationRequest, StreamItem
from tests.cluster.gate import FOLDER, await_start, pass_gate

POISON = "poison"
ENGINE_FAILURE = "engine failure"
ENDLESS = "endless"
HANG = "hang"
ENGINE_HANG = "engine hang"
_ARMED = FOLDER / "armed"


def _fall_off(*_: Any) -> NoReturn:
    raise RuntimeError("The card has fallen off the bus")


def _stand_still(*_: Any) -> NoReturn:
    threading.Event().wait()
    raise AssertionError


def _disarm() -> bool:
    """Tell whether a failure is armed, for the last time."""
    try:
        _ARMED.unlink()
    except FileNotFoundError:
        return False
    return True


class Fragile(MusicGenReplica):
    """A MusicGenReplica that the prompt POISON kills.

    After `arm`, and once: ENGINE_FAILURE makes the next step of its engine raise; a track of ENDLESS
    stops after its first part, and ends with the replica; HANG holds the interpreter's lock for ever
    after a track's first part, ENGINE_HANG the engine's thread.
    """

    def __init__(self, *args: Any) -> None:
        await_start()
        super().__init__(*args)

    @staticmethod
    def arm() -> None:
        _ARMED.touch()

    async def generate(
        self, request: GenerationRequest
    ) -> AsyncGenerator[StreamItem | PackedChunk, None]:
        if request.prompt == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        is_armed = request.prompt in (ENGINE_FAILURE, ENDLESS, HANG, ENGINE_HANG) and _disarm()
        if is_armed and request.prompt == ENGINE_FAILURE:
            self._engine.loop.batch.step = _fall_off  # type: ignore[assignment]
        async for item in super().generate(request):
            if _is_last(item):
                await pass_gate(request.request_id, request.prompt)
            yield item
            if is_armed and isinstance(item, PackedChunk):
                await self._stand_still(request.prompt)

    async def _stand_still(self, prompt: str) -> None:
        if prompt == ENDLESS:
            await asyncio.Event().wait()
        elif prompt == HANG:
            while True:
                ctypes.PyDLL(None).pause()  # until any signal
        elif prompt == ENGINE_HANG:
            self._engine.loop.batch.step = _stand_still  # type: ignore[assignment]


def _is_last(item: StreamItem | PackedChunk) -> bool:
    chunk = unpack(item)
    return isinstance(chunk, AudioChunk) and chunk.finish_reason is not None


def build_app(args: dict[str, Any]) -> Application:
    """Build the application of serve_app, with fragile replicas."""
    with patch.object(app, "MusicGenReplica", Fragile):
        return app.build_app(args)
