"""A server before the service: it passes requests on, leaves them without an answer, or sends them to a login."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

import httpx

from serve_app.api.paths import SERVICE_WORKER

_LOGIN = "<!doctype html><title>Log in</title>"
_KEPT_HEADERS = ("content-type", "content-security-policy")


class Mode(Enum):
    """Answers of the server. HANG: none; LOGIN: a redirect of all but the worker to a page with a login."""

    PASS = auto()
    HANG = auto()
    LOGIN = auto()


class Gatekeeper:
    """A server before the service. mode: a test sets it; url: its address; held: requests without an answer."""

    def __init__(self, service: str) -> None:
        self.mode = Mode.PASS
        self.url = ""
        self.held = 0
        self._client = httpx.AsyncClient(base_url=service)
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Gatekeeper"]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        async with self._client:
            try:
                yield self
            finally:
                self._ended.set()
                server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(await self._response(head.split()[1].decode()))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, httpx.HTTPError):
            pass  # the browser has left, or the test is over
        finally:
            writer.close()

    async def _response(self, path: str) -> bytes:
        if path == "/login":
            return _message(200, {"content-type": "text/html"}, _LOGIN.encode())
        if self.mode is Mode.LOGIN and path != SERVICE_WORKER:
            return _message(302, {"location": "/login"}, b"")
        if self.mode is Mode.HANG:
            self.held += 1
            await self._ended.wait()
            return b""
        answer = await self._client.get(path)
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        return _message(answer.status_code, headers, answer.content)


def _message(status: int, headers: dict[str, str], body: bytes) -> bytes:
    sent = {**headers, "content-length": str(len(body)), "connection": "close"}
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    return "\r\n".join(lines).encode() + body
