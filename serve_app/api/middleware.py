"""What is done to every request before its route: its API key, a limit on its body, an id; and to every answer."""

import re
from typing import ClassVar
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.api.keys import KeyRing
from serve_app.api.limits import Limits
from serve_app.api.routes.page import wants_page
from serve_app.errors import HeadersTooLarge, PayloadTooLarge, Unauthorized

REQUEST_ID_HEADER = "x-request-id"
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


_OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")  # to read, as what is in _STATIC
_STATIC = "/static/"
_UPLOAD_PATHS = ("/v1/audio/generations", "/v1/audio/conversions")


class Authentication:
    """Puts the name of the request's API key into its state, or answers 401; tells callers what their limits leave."""

    def __init__(self, app: ASGIApp, keys: KeyRing, limits: Limits) -> None:
        self._app, self._keys, self._limits = app, keys, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        is_page = path in _OPEN_PATHS or path.startswith(_STATIC) or (path == "/stats" and wants_page(scope))
        is_to_read = scope["method"] in ("GET", "HEAD") and is_page
        is_open = self._keys.empty or is_to_read
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        caller = self._keys.name_of(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None and not is_open:
            error = Unauthorized("Send an API key of this service: `Authorization: Bearer KEY`")
            await problem(error, headers={"www-authenticate": "Bearer"})(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller or ""

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and caller is not None:
                MutableHeaders(scope=message).update(self._limits.headers(caller))
            await send(message)

        await self._app(scope, receive, tell)


class SecurityHeaders:
    """Answers are taken for what they say they are, framed by nobody, and give no address away."""

    HEADERS: ClassVar = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
    }

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.HEADERS)
            await send(message)

        await self._app(scope, receive, add)


class HeaderLimit:
    """Answers 431 where headers are too long together."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if sum(len(name) + len(value) for name, value in scope.get("headers", ())) <= self._max_bytes:
            await self._app(scope, receive, send)
            return
        await problem(HeadersTooLarge(f"Headers must be at most {self._max_bytes} bytes"))(scope, receive, send)


class BodyLimit:
    """Reads the body before the route runs, and answers 413 as soon as it is too long.

    Where a request may bring audio, its limit is `max_upload_bytes`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_upload_bytes: int) -> None:
        self._app, self._max_bytes, self._max_upload_bytes = app, max_bytes, max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._max_upload_bytes if scope["path"] in _UPLOAD_PATHS else self._max_bytes
        announced = Headers(scope=scope).get("content-length", "0")
        body = None if announced.isdecimal() and int(announced) > max_bytes else await self._read(receive, max_bytes)
        if body is None:
            error = PayloadTooLarge(f"The request's body must be at most {max_bytes} bytes")
            await problem(error)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive, max_bytes: int) -> bytes | None:
        """The body, or None when it is too long."""
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


class RequestId:
    """Puts a request's id into its state: the one in its header where that is well-formed, or else a new one.

    Serve's proxy gives every request this header, and returns it in the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        scope.setdefault("state", {})["request_id"] = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        await self._app(scope, receive, send)
