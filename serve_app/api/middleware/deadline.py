"""Deadlines: the time that a client allows for its request."""

import contextlib
import math
from time import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.errors import InvalidRequest

HEADER = "x-request-timeout-seconds"
LONGEST_S = 3600.0


class Deadline:
    """Put the request's deadline (Unix time, or None) into its state.

    The header gives it in seconds from now. Answer 400 when its value is not such a number.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        text = Headers(scope=scope).get(HEADER)
        timeout_s = _seconds(text) if text is not None else None
        if text is not None and timeout_s is None:
            error = InvalidRequest(
                f"{HEADER} must be a number of seconds above 0, at most {LONGEST_S:g}"
            )
            await problem(error)(scope, receive, send)
            return
        deadline = None if timeout_s is None else time() + timeout_s
        scope.setdefault("state", {})["deadline"] = deadline
        await self._app(scope, receive, send)


def _seconds(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) <= LONGEST_S and math.isfinite(seconds):
            return seconds
    return None
