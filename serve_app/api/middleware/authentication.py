"""API keys: name the caller, or answer 401."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.api.keys import KeyRing
from serve_app.api.routes.page import wants_page
from serve_app.errors import Unauthorized
from serve_app.gateway.limits import Limits

_OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")  # readable without a key, like _STATIC
_STATIC = "/static/"
_READING = ("GET", "HEAD")


def is_open(method: str, path: str) -> bool:
    """Test that a request needs no key, whatever it accepts."""
    return method in _READING and (path in _OPEN_PATHS or path.startswith(_STATIC))


class Authentication:
    """Puts the name of the request's API key into its state, or answers 401; tells callers what their limits leave."""

    def __init__(self, app: ASGIApp, keys: KeyRing, limits: Limits) -> None:
        self._app, self._keys, self._limits = app, keys, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        is_page = scope["method"] in _READING and path == "/stats" and wants_page(scope)
        needs_no_key = self._keys.is_open or is_page or is_open(scope["method"], path)
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        caller = self._keys.name_of(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None and not needs_no_key:
            error = Unauthorized("Send an API key of this service: `Authorization: Bearer KEY`")
            await problem(error, headers={"www-authenticate": "Bearer"})(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller or ""

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and caller is not None:
                MutableHeaders(scope=message).update(self._limits.headers(caller))
            await send(message)

        await self._app(scope, receive, tell)
