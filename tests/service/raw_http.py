"""Requests as bytes, for what HTTP clients do not send, and answers to them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from serve_app.edge.haproxy import Address

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Answer:
    """Answer to a raw request. headers: by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def connection(door: Address, request: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send the request to one of the service's doors; yield what reads the answer."""
    reader, writer = await asyncio.open_connection(door.host, door.port)
    try:
        writer.write(request)
        await writer.drain()
        yield reader
    finally:
        writer.close()


async def ask(door: Address, request: bytes) -> Answer:
    """Answer to a request after which the server closes the connection."""
    async with asyncio.timeout(PATIENCE_S), connection(door, request) as reader:
        content = await reader.read()
    head, _, body = content.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    return Answer(int(status.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


def get(path: str, *headers: bytes, version: str = "1.1") -> bytes:
    """GET with these lines of headers."""
    lines = [f"GET {path} HTTP/{version}".encode(), b"host: test", b"connection: close", *headers]
    return b"\r\n".join([*lines, b"", b""])
