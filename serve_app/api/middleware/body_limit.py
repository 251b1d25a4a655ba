"""Limit on the size of a request's body, and the decoding of a compressed one."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.body_decoder import ACCEPTED, BodyDecoder
from serve_app.api.error_handlers import problem
from serve_app.api.errors import Overloaded, UnsupportedEncoding
from serve_app.api.middleware.body_memory import BodyMemory, BodyShare
from serve_app.api.paths import route_path, takes_audio
from serve_app.errors import InvalidRequest, PayloadTooLarge


class BodyLimit:
    """Read the body before the route runs, decompressed; answer 413 once it exceeds its limit.

    The limit is `max_upload_bytes` on routes that take audio, `max_bytes` elsewhere. It counts the
    bytes of the decompressed body. Answer 429 where the bodies of all unfinished requests exceed
    `memory_bytes`, and call `refused` for each of these answers.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_upload_bytes: int,
        memory_bytes: int,
        refused: Callable[[], None],
    ) -> None:
        self._app = app
        self._refused = refused
        self._max_bytes = max_bytes
        self._max_upload_bytes = max_upload_bytes
        self._memory = BodyMemory(memory_bytes, max_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._memory.share() as share:
            await self._call(scope, receive, send, share)

    async def _call(self, scope: Scope, receive: Receive, send: Send, share: BodyShare) -> None:
        try:
            body = await self._read(scope, receive, share)
        except (InvalidRequest, Overloaded, PayloadTooLarge, UnsupportedEncoding) as error:
            if isinstance(error, Overloaded):
                self._refused()
            unsupported = isinstance(error, UnsupportedEncoding)
            headers = {"accept-encoding": ACCEPTED} if unsupported else None
            await problem(error, headers)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(_decoded(scope, len(body)), replay, send)

    async def _read(self, scope: Scope, receive: Receive, share: BodyShare) -> bytes:
        """Read and decode the body.

        Raises InvalidRequest, Overloaded, PayloadTooLarge and UnsupportedEncoding.
        """
        is_upload = takes_audio(route_path(scope))
        max_bytes = self._max_upload_bytes if is_upload else self._max_bytes
        if _announced(scope) > max_bytes:
            raise PayloadTooLarge(f"The request's body must be at most {max_bytes} bytes")
        encoding = ", ".join(Headers(scope=scope).getlist("content-encoding"))
        decoder = BodyDecoder(encoding, max_bytes)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b""
            if encoding:
                await asyncio.to_thread(decoder.add, message.get("body", b""))
            else:
                decoder.add(message.get("body", b""))
            share.grow_to(decoder.length)
            if not message.get("more_body", False):
                return decoder.finish()


def _announced(scope: Scope) -> int:
    """The body's length by its `Content-Length`; 0 without a valid one."""
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def _decoded(scope: Scope, length: int) -> Scope:
    """Return the scope of a request whose body has been decoded."""
    if b"content-encoding" not in dict(scope["headers"]):
        return scope
    decoded = {**scope, "headers": list(scope["headers"])}
    headers = MutableHeaders(scope=decoded)
    del headers["content-encoding"]
    headers["content-length"] = str(length)
    return decoded
