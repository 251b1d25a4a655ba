"""Deadlines: the time that a client allows for its request, in a header."""

import contextlib
from time import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.errors import InvalidRequest

HEADER = "x-musicgen-timeout-seconds"
SERVES_HEADER = "x-request-timeout-seconds"  # obeyed by Serve's proxy, too; the edge renames it
MAX_TIMEOUT_S = 3600.0


class Deadline:
    """Put the request's deadline (Unix time, or None) into its state.

    The header states it in seconds from now. Answer 400 for an invalid value.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            deadline = _deadline(headers.get(HEADER, headers.get(SERVES_HEADER)))
        except InvalidRequest as error:
            await problem(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["deadline"] = deadline
        await self._app(scope, receive, send)


def _deadline(timeout: str | None) -> float | None:
    """Compute the Unix time of a timeout in seconds. Raises InvalidRequest."""
    if timeout is None:
        return None
    with contextlib.suppress(ValueError):
        timeout_s = float(timeout)
        if 0 < timeout_s <= MAX_TIMEOUT_S:
            return time() + timeout_s
    raise InvalidRequest(f"{HEADER} must be a number of seconds above 0, at most {MAX_TIMEOUT_S:g}")
