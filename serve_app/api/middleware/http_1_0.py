"""Answers to HTTP/1.0, which has no chunked transfer coding (RFC 9112, section 6.1)."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NOT_LATER = ("0.9", "1.0")


class Http10:
    """Give an answer to an HTTP/1.0 client its length: a streamed one is sent once it is complete.

    The server below would frame an answer without `Content-Length` in chunks.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("http_version") not in _NOT_LATER:
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Measured(send).send)


class _Measured:
    """Holds an answer without `Content-Length` back until its length is known."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not _has_length(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_all(self._start)

    async def _send_all(self, start: Message) -> None:
        MutableHeaders(scope=start)["content-length"] = str(len(self._body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": bytes(self._body)})


def _has_length(start: Message) -> bool:
    return "content-length" in Headers(raw=start["headers"]) or start["status"] in (204, 304)
