"""How long a caller waits: what would come later is not made."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from time import monotonic

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.backend import Backend
from serve_app.api.error_handlers import problem
from serve_app.errors import DeadlineExceeded, InvalidRequest
from serve_app.types import AudioChunk, GenerationRequest, ReplicaStatus

HEADER, LONGEST_S = "x-request-timeout-seconds", 3600.0
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class Deadline:
    """Reads the header; answers 400 where it is no number of seconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = Headers(scope=scope).get(HEADER) if scope["type"] == "http" else None
        if text is None:
            await self._app(scope, receive, send)
            return
        if (timeout_s := _seconds(text)) is None:
            error = InvalidRequest(f"{HEADER} must be a number of seconds above 0, at most {LONGEST_S:g}")
            await problem(error)(scope, receive, send)
            return
        token = _deadline.set(monotonic() + timeout_s)
        try:
            await self._app(scope, receive, send)
        finally:
            _deadline.reset(token)


class PunctualBackend:
    """A backend whose requests end at their caller's deadline, wherever they are by then."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """Raises DeadlineExceeded besides."""
        deadline = _deadline.get()
        async with contextlib.aclosing(self._backend.generate(request)) as chunks:
            while True:
                try:
                    left_s = None if deadline is None else deadline - monotonic()
                    chunk = await asyncio.wait_for(anext(chunks), left_s)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise DeadlineExceeded("The piece was not finished in the time that its caller gave it.") from error
                yield chunk

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        return await self._backend.replicas(model_id)

    def wake(self, model_id: str) -> None:
        self._backend.wake(model_id)


def _seconds(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) <= LONGEST_S and math.isfinite(seconds):
            return seconds
    return None
