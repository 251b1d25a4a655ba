"""API keys: name the caller, or answer 401."""

from collections.abc import Iterator

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.content_negotiation import wants_page
from serve_app.api.error_handlers import problem
from serve_app.api.paths import HEALTH_PATHS, SERVICE_WORKER, STREAMS, route_path, takes_links
from serve_app.errors import Unauthorized
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.limits import Limits

# Paths that are readable without a key, like those below _OPEN_FOLDERS. The id of a stream is
# unguessable and expires: players cannot send a key.
_OPEN_PATHS = ("/", SERVICE_WORKER, *HEALTH_PATHS, "/docs", "/openapi.json")
_OPEN_FOLDERS = ("/static/", STREAMS)
_READING = ("GET", "HEAD")
_SCHEMES = ("bearer", "key")  # of `Authorization`; the second is fal's
KEY_HEADER = "xi-api-key"  # ElevenLabs'


def is_page(scope: Scope) -> bool:
    """Test that a request reads a page, a document or the health, which need no key."""
    method = scope["method"]
    path = route_path(scope)
    is_stats = method in _READING and path == "/stats" and wants_page(scope)
    return is_stats or is_open(method, path) or _is_link(scope)


def _is_link(scope: Scope) -> bool:
    """Test that a request follows a signed link: its route checks the token."""
    is_reading = scope["method"] in _READING and takes_links(route_path(scope))
    return is_reading and "token" in QueryParams(scope["query_string"])


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
            await _refusal(scope)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller or ""
        limited = send if caller is None else self._with_rate_limits(caller, send)
        await self._app(scope, receive, limited)

    def _caller(self, scope: Scope) -> str | None:
        """Return the name of the request's first known key; None without one."""
        names = (self._keys.name_of(key) for key in _keys_of(scope))
        return next((name for name in names if name is not None), None)

    def _needs_no_key(self, scope: Scope) -> bool:
        return self._keys.is_open or is_page(scope)

    def _with_rate_limits(self, caller: str, send: Send) -> Send:
        async def add_rate_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._limits.headers(caller))
            await send(message)

        return add_rate_limits


def _keys_of(scope: Scope) -> Iterator[str]:
    """Yield the keys that the request presents, in `Authorization` and in ElevenLabs' header."""
    headers = Headers(scope=scope)
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    presented = (
        credentials if scheme.lower() in _SCHEMES else "",
        headers.get(KEY_HEADER, ""),
    )
    yield from (key.strip() for key in presented if key.strip())


def _refusal(scope: Scope) -> Response:
    """Tell a missing key, a header of another form and an unknown key apart (RFC 6750, section 3)."""
    challenge = "Bearer"
    if any(_keys_of(scope)):
        challenge = 'Bearer error="invalid_token"'
        message = (
            "The API key is not one of this service's. Check the key, and whether it was replaced."
        )
    elif "authorization" in Headers(scope=scope):
        message = "The Authorization header has no API key in it: send `Authorization: Bearer KEY`"
    else:
        message = (
            "The request has no API key: send one in `Authorization: Bearer KEY`, in "
            "`Authorization: Key KEY` or in `xi-api-key: KEY`"
        )
    return problem(Unauthorized(message), headers={"www-authenticate": challenge})
