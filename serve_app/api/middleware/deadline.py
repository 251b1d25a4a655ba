"""Deadlines: the time that a client allows for its request, in a header, and the service's own limit."""

import contextlib
import math
from collections.abc import Callable
from time import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.api.paths import makes_track, route_path
from serve_app.api.preferences import Preferences, preferences
from serve_app.errors import InvalidRequest

HEADER = "x-musicgen-timeout-seconds"
SERVES_HEADER = "x-request-timeout-seconds"  # obeyed by Serve's proxy, too; the edge renames it
MAX_TIMEOUT_S = 3600.0


class Deadline:
    """Put the request's deadline (Unix time, or None) into its state.

    The header states it in seconds from now, and for a track so does `Prefer: wait=N`, of which the
    answer says that it was obeyed. Answer 400 for an invalid value of the header.

    limit_s: the service's own limit, in seconds, infinite without one. A request whose answer is a
    track has this deadline too, so that the service refuses it in its own words.
    """

    def __init__(self, app: ASGIApp, limit_s: Callable[[], float]) -> None:
        self._app = app
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            timeout_s = _timeout_s(headers.get(HEADER, headers.get(SERVES_HEADER)))
        except InvalidRequest as error:
            await problem(error)(scope, receive, send)
            return
        if makes_track(scope["method"], route_path(scope)):
            timeout_s = min(timeout_s, self._limit_s())
            if "prefer" in headers and (wait_s := preferences(headers).deadline_s):
                wait_s = min(wait_s, MAX_TIMEOUT_S)
                timeout_s = min(timeout_s, wait_s)
                send = _applying(Preferences(wait_s=wait_s), send)
        deadline = None if math.isinf(timeout_s) else time() + timeout_s
        scope.setdefault("state", {})["deadline"] = deadline
        await self._app(scope, receive, send)


def _applying(obeyed: Preferences, send: Send) -> Send:
    """Name the preferences in the answer."""

    async def applied(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(obeyed.applied)
        await send(message)

    return applied


def _timeout_s(timeout: str | None) -> float:
    """Parse a timeout in seconds, infinite without one. Raises InvalidRequest."""
    if timeout is None:
        return math.inf
    with contextlib.suppress(ValueError):
        timeout_s = float(timeout)
        if 0 < timeout_s <= MAX_TIMEOUT_S:
            return timeout_s
    raise InvalidRequest(f"{HEADER} must be a number of seconds above 0, at most {MAX_TIMEOUT_S:g}")
