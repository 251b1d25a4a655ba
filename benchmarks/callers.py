"""Clients of the service benchmark: one that measures latencies, and a crowd on raw sockets."""

import asyncio
import json
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

PATH = "/v1/audio/generations"
END_OF_HEAD = b"\r\n\r\n"


def body(duration_s: float, **more: Any) -> dict[str, Any]:
    return {"prompt": "lofi beat", "duration_s": duration_s, "response_format": "pcm", **more}


class Caller:
    """HTTP client that measures seconds of its requests."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def whole(self, duration_s: float) -> float:
        """Seconds until a track is complete."""
        started_at = perf_counter()
        response = await self._client.post(PATH, json=body(duration_s))
        response.raise_for_status()
        return perf_counter() - started_at

    async def streamed(self, duration_s: float) -> tuple[float, float]:
        """Seconds until a track's first audio, and until it is complete."""
        request = body(duration_s, stream=True)
        first_s = 0.0
        started_at = perf_counter()
        async with self._client.stream("POST", PATH, json=request) as response:
            response.raise_for_status()
            async for _ in response.aiter_bytes():
                first_s = first_s or perf_counter() - started_at
        return first_s, perf_counter() - started_at


class Answer(NamedTuple):
    status: int
    seconds: float  # until the response's head
    retry_after: bool


class Crowd:
    """Simultaneous requests on open connections.

    Raw sockets keep the client's own work out of the measured times.
    """

    def __init__(self, url: str, callers: int) -> None:
        self._address = urlsplit(url)
        self._callers = callers

    async def ask(self, path: str, duration_s: float) -> list[Answer]:
        """Post a generation to `path` from all callers at once."""
        host = str(self._address.hostname)
        port = self._address.port
        request = _request(path, host, json.dumps(body(duration_s)).encode())
        connections = [await asyncio.open_connection(host, port) for _ in range(self._callers)]
        return await asyncio.gather(*(_ask(*connection, request) for connection in connections))


def _request(path: str, host: str, content: bytes) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        "Content-Type: application/json",
    )
    return "\r\n".join(lines).encode() + END_OF_HEAD + content


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> Answer:
    started_at = perf_counter()
    writer.write(request)
    head = await reader.readuntil(END_OF_HEAD)
    seconds = perf_counter() - started_at
    await reader.read()
    writer.close()
    return Answer(int(head.split()[1]), seconds, b"\r\nretry-after:" in head.lower())
