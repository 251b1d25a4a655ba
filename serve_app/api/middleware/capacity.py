"""Bound on the requests that one process works on at a time."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.api.errors import Overloaded
from serve_app.api.paths import HEALTH_PATHS, route_path


class Capacity:
    """Answer 429 at once to requests beyond `max_requests`, except health checks.

    Waiting requests and those whose body is incomplete count. None: no bound.
    refused: called for each of these answers.
    """

    def __init__(self, app: ASGIApp, max_requests: int | None, refused: Callable[[], None]) -> None:
        self._app = app
        self._max_requests = max_requests
        self._refused = refused
        self._ongoing = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        if self._max_requests is not None and self._ongoing >= self._max_requests:
            error = Overloaded(
                f"The service is working on {self._ongoing} requests, its maximum. "
                "Send the request again later."
            )
            self._refused()
            await problem(error)(scope, receive, send)
            return
        self._ongoing += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._ongoing -= 1
