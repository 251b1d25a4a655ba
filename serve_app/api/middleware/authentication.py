"""API keys: name the caller, or answer 401."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.content_negotiation import wants_page
from serve_app.api.error_handlers import problem
from serve_app.api.paths import STREAMS, route_path
from serve_app.errors import Unauthorized
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.limits import Limits

# Paths that are readable without a key, like those below _OPEN_FOLDERS. The id of a stream is
# unguessable and expires: players cannot send a key.
_OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")
_OPEN_FOLDERS = ("/static/", STREAMS)
_READING = ("GET", "HEAD")


def is_open(method: str, path: str) -> bool:
    """Test that a request needs no key, whatever it accepts."""
    return method in _READING and (path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS))


class Authentication:
    """Puts the name of the API key into the state, or answers 401; adds RateLimit headers."""

    def __init__(self, app: ASGIApp, keys: KeyRing, limits: Limits) -> None:
        self._app = app
        self._keys = keys
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if caller is None and not self._needs_no_key(scope):
            error = Unauthorized("Send an API key of this service: `Authorization: Bearer KEY`")
            await problem(error, headers={"www-authenticate": "Bearer"})(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller or ""
        limited = send if caller is None else self._with_rate_limits(caller, send)
        await self._app(scope, receive, limited)

    def _caller(self, scope: Scope) -> str | None:
        """Return the name of the request's key; None without a known key."""
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        return self._keys.name_of(key.strip()) if scheme.lower() == "bearer" else None

    def _needs_no_key(self, scope: Scope) -> bool:
        method = scope["method"]
        path = route_path(scope)
        is_page = method in _READING and path == "/stats" and wants_page(scope)
        return self._keys.is_open or is_page or is_open(method, path)

    def _with_rate_limits(self, caller: str, send: Send) -> Send:
        async def add_rate_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._limits.headers(caller))
            await send(message)

        return add_rate_limits
