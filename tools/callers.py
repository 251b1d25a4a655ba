"""HTTP clients of a running service, well-behaved and not, for load tests."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import httpx

from serve_app.audio.file_format import FORMATS

PATH = "/v1/audio/generations"
RESPONSE_FORMATS = tuple(FORMATS)
INVALID: tuple[dict[str, Any], ...] = (
    {"content": b"{"},
    {"content": b"\x00" * 70_000, "headers": {"content-type": "application/json"}},
    {"json": {"prompt": ""}},
    {"json": {"prompt": "a", "duration_s": -1}},
    {"json": {"prompt": "a", "temperature": "hot"}},
    {"json": {"prompt": "a", "model": "none"}},
    {"json": {"prompt": "a", "audio_prompt": "bm8gbXVzaWM="}},
    {"json": {"prompt": "a"}, "headers": {"x-musicgen-timeout-seconds": "soon"}},
    {
        "data": {"prompt": "a"},
        "files": {"audio_prompt": ("a.wav", b"RIFF\xff\xff\xff\xffWAVE" + bytes(5000))},
    },
)
READ_ONLY = ("/stats", "/v1/models", "/health", "/", "/openapi.json")


class Callers:
    """Concurrent callers, each of which repeats one random behaviour after the other.

    calls: number of calls by behaviour; wrong: number of unexpected answers by kind.
    """

    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self.calls = Counter[str]()
        self.wrong = Counter[str]()
        self._behaviours: tuple[Callable[[], Awaitable[None]], ...] = (
            self._wait,
            self._stream,
            self._leave_halfway,
            self._leave_at_once,
            self._send_invalid,
            self._read,
            self._read_slowly,
            self._send_half_a_body,
            self._send_an_endless_url,
        )

    async def call_until(self, end: float) -> None:
        """Call until `end`, on the clock of `time.monotonic`."""
        while monotonic() < end:
            behave = self._random.choice(self._behaviours)
            try:
                await behave()
            except (httpx.HTTPError, OSError) as error:
                self.wrong[f"{behave.__name__}: {type(error).__name__}"] += 1
            self.calls[behave.__name__.strip("_").replace("_", " ")] += 1

    def _body(self, **more: Any) -> dict[str, Any]:
        duration_s = round(self._random.uniform(0.2, 3.0), 2)
        prompt = self._random.choice(["lofi beat", "calm pad", "bells"])
        return {"prompt": prompt, "duration_s": duration_s, **more}

    def _expect(self, response: httpx.Response, *statuses: int) -> None:
        if response.status_code not in statuses:
            self.wrong[f"{response.request.url.path}: {response.status_code}"] += 1

    async def _wait(self) -> None:
        body = self._body(response_format=self._random.choice(RESPONSE_FORMATS))
        self._expect(await self._client.post(PATH, json=body), 200)

    async def _stream(self) -> None:
        await self._receive(chunks=None)

    async def _leave_halfway(self) -> None:
        await self._receive(chunks=self._random.randint(0, 3))

    async def _receive(self, chunks: int | None) -> None:
        """Stream a track; disconnect after `chunks` chunks."""
        how = self._random.choice(
            [{"response_format": "mp3"}, {"response_format": "pcm"}, {"stream_format": "sse"}]
        )
        body = self._body(stream=True, **how)
        async with self._client.stream("POST", PATH, json=body) as response:
            self._expect(response, 200)
            number = 0
            async for _ in response.aiter_bytes():
                number += 1
                if number == chunks:
                    return

    async def _leave_at_once(self) -> None:
        call = asyncio.create_task(self._client.post(PATH, json=self._body()))
        await asyncio.wait({call}, timeout=self._random.uniform(0, 0.3))
        call.cancel()
        await asyncio.wait({call})

    async def _send_invalid(self) -> None:
        response = await self._client.post(PATH, **self._random.choice(INVALID))
        self._expect(response, 400, 404, 413, 422)

    async def _read(self) -> None:
        self._expect(await self._client.get(self._random.choice(READ_ONLY)), 200)

    async def _read_slowly(self) -> None:
        async with self._client.stream("POST", PATH, json=self._body(stream=True)) as response:
            self._expect(response, 200)
            async for _ in response.aiter_bytes(4096):
                await asyncio.sleep(0.02)

    async def _send_half_a_body(self) -> None:
        """Leave while the service waits for the rest."""
        async with self._connection() as (_, writer):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
            await writer.drain()
            await asyncio.sleep(self._random.uniform(0, 1))

    async def _send_an_endless_url(self) -> None:
        async with self._connection() as (reader, writer):
            answer = b""
            with contextlib.suppress(ConnectionError):
                writer.write(b"GET /")
                for _ in range(64):
                    writer.write(b"a" * 2**16)
                    await writer.drain()
                answer = await reader.read(12)
            if answer not in {b"HTTP/1.1 400", b""}:
                self.wrong[f"endless URL: {answer!r}"] += 1

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        url = self._client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            yield reader, writer
        finally:
            writer.close()
