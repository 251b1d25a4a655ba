"""Limit on the size of a request's headers."""

from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.errors import HeadersTooLarge


class HeaderLimit:
    """Answer 431 when all headers together exceed `max_bytes`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            sum(len(name) + len(value) for name, value in scope.get("headers", ()))
            <= self._max_bytes
        ):
            await self._app(scope, receive, send)
            return
        await problem(HeadersTooLarge(f"Headers must be at most {self._max_bytes} bytes"))(
            scope, receive, send
        )
