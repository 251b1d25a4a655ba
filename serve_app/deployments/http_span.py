"""OpenTelemetry's attributes of HTTP servers on Serve's span of a request, which has those of an earlier convention.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SERVER_ERROR = 500


class HttpSpan:
    """ASGI middleware that describes each request and its answer on the current span."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        span = trace.get_current_span()
        if scope["type"] != "http" or not span.is_recording():
            await self._app(scope, receive, send)
            return

        async def describe(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attributes(_attributes(scope, message["status"]))
            await send(message)

        await self._app(scope, receive, describe)


def _attributes(scope: Scope, status: int) -> dict[str, str | int]:
    """Return the attributes; a path's parameters and the query stay out, which may hold secrets."""
    found: dict[str, str | int] = {
        "http.request.method": scope["method"],
        "http.response.status_code": status,
        "network.protocol.version": scope["http_version"],
        "url.scheme": scope["scheme"],
    }
    if (route := getattr(scope.get("route"), "path", None)) is not None:
        found["http.route"] = route
    if status >= _SERVER_ERROR:
        found["error.type"] = str(status)
    return found
