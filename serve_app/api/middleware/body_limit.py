"""Limit on the size of a request's body."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.api.paths import CONVERSIONS, GENERATIONS, route_path
from serve_app.errors import PayloadTooLarge

_UPLOAD_PATHS = (GENERATIONS, CONVERSIONS)


class BodyLimit:
    """Read the body before the route runs; answer 413 once it exceeds its limit.

    The limit is `max_upload_bytes` on routes that take audio, `max_bytes` elsewhere.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_upload_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = (
            self._max_upload_bytes if route_path(scope) in _UPLOAD_PATHS else self._max_bytes
        )
        body = None
        if _announced(scope) <= max_bytes:
            body = await _read(receive, max_bytes)
        if body is None:
            error = PayloadTooLarge(f"The request's body must be at most {max_bytes} bytes")
            await problem(error)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)


def _announced(scope: Scope) -> int:
    """The body's length by its `Content-Length`; 0 without a valid one."""
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isdecimal() else 0


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """Read the body; None once it exceeds `max_bytes`."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > max_bytes:
            return None
        if not message.get("more_body", False):
            return bytes(body)
