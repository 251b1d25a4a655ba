"""Limit on the size of a request's headers."""

from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.errors import HeadersTooLarge


class HeaderLimit:
    """Answer 431 when all headers together exceed `max_bytes`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = sum(len(name) + len(value) for name, value in scope.get("headers", ()))
        if size <= self._max_bytes:
            await self._app(scope, receive, send)
            return
        error = HeadersTooLarge(f"Headers must be at most {self._max_bytes} bytes, but have {size}")
        await problem(error)(scope, receive, send)
