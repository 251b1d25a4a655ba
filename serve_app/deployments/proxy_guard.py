"""Guard in Serve's HTTP proxy, in front of what the proxy itself makes of a request's headers.

Serve calls `middleware` in each proxy when the environment of Ray's nodes has
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.deployments.proxy_guard:middleware.
"""

from collections.abc import Iterator

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.middleware.deadline import HEADER, SERVES_HEADER
from serve_app.api.middleware.flow_control import ACKS_HEADER
from serve_app.api.middleware.request_id import REQUEST_ID_HEADER, is_request_id
from serve_app.deployments.delivery import Delivery

# Serve's hints, by which a client could keep a slot after it has gone, or steer the routing.
_HINTS = {
    b"x-request-disconnect-disabled",
    b"serve-multiplexed-model-id",
    b"x-session-id",
    ACKS_HEADER.encode(),
}
# Parsed by Serve, which answers bytes outside ASCII with 500.
_PARSED = {b"traceparent", b"tracestate"}


def middleware() -> list[Middleware]:
    """List the middleware that Serve puts around its proxy."""
    return [Middleware(ProxyGuard)]


class ProxyGuard:
    """Removes headers that are Serve's own, and ids of requests that are not well-formed.

    The deadline of a request goes on under another name, so that the application answers it, not
    the proxy. `Delivery` acknowledges what the client takes of its answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            scope = {**scope, "headers": list(_guarded(scope["headers"]))}
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["headers"].append((ACKS_HEADER.encode(), b"1"))
        delivery = Delivery(receive, send)
        try:
            await self._app(scope, delivery.receive, delivery.send)
        finally:
            delivery.close()


def _guarded(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        key = name.lower().replace(b"_", b"-")
        if key == SERVES_HEADER.encode():
            yield HEADER.encode(), value
        elif not _is_refused(key, value):
            yield name, value


def _is_refused(key: bytes, value: bytes) -> bool:
    if key == REQUEST_ID_HEADER.encode():
        return not is_request_id(value.decode("latin-1"))
    return key in _HINTS or (key in _PARSED and not value.isascii())
