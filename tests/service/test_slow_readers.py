"""Clients that read slowly or not at all, at Serve's own proxy: what they cost the ingress."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import numpy as np
import pytest
import soundfile

from serve_app.edge.haproxy import Address
from serve_app.launcher import Service
from tests.audio.files import case, pcm_file, tone
from tests.service.conftest import ingress
from tests.service.raw_http import PATIENCE_S, connection

CONVERSIONS = "/v1/audio/conversions"
OPTIONS = {"response_format": "wav", "sample_format": "float32"}
READERS = 6
GROWTH = 200_000_000  # less than the file of one reader


def posted(door: Address, content: bytes) -> bytes:
    """A request to convert a file to wav."""
    files = {"audio": ("a", content)}
    request = httpx.Request("POST", f"http://{door}{CONVERSIONS}", data=OPTIONS, files=files)
    lines = b"".join(b"%s: %s\r\n" % header for header in request.headers.raw)
    return b"POST %s HTTP/1.1\r\n%s\r\n%s" % (CONVERSIONS.encode(), lines, request.read())


@asynccontextmanager
async def begun(door: Address, content: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """What reads a conversion whose answer has begun, and the bytes of the file."""
    async with connection(door, posted(door, content)) as reader:
        async with asyncio.timeout(2 * PATIENCE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        assert head.startswith("http/1.1 200 "), head
        assert "musicgen-acks" not in head
        yield reader, int(head.partition("content-length: ")[2].split()[0])


def unfinished(service: Service) -> int:
    """The number of conversions that the ingress has not given back."""
    files = ingress(service).open_files()
    return sum("musicgen-conversion-" in file.path for file in files)


async def until_unfinished(service: Service, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(unfinished, service) != count:  # noqa: ASYNC110 - elsewhere
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_what_nobody_reads_stays_out_of_memory(service: Service) -> None:
    door = service.upstream
    sound = tone(40.0, channels=2, rate=48_000)
    async with begun(door, pcm_file(sound, 48_000, "FLAC")) as (reader, size):
        assert size > 15_000_000, "several windows"
        samples, _ = soundfile.read(io.BytesIO(await reader.readexactly(size)))
    np.testing.assert_allclose(samples.T, sound, atol=1e-4)

    before = ingress(service).memory_info().rss
    async with AsyncExitStack() as stack:
        silence = case("long_silence.flac")
        readers = [await stack.enter_async_context(begun(door, silence)) for _ in range(READERS)]
        async with begun(door, pcm_file(sound, 48_000)) as (reader, size):
            samples, _ = soundfile.read(io.BytesIO(await reader.readexactly(size)))
        np.testing.assert_allclose(samples.T, sound, atol=1e-4)
        await until_unfinished(service, READERS)
        reader, size = readers[-1]
        assert size > GROWTH
        content = await reader.readexactly(size)
        assert not np.frombuffer(content[1000:], np.uint8).any()
        assert ingress(service).memory_info().rss - before < GROWTH
    await until_unfinished(service, 0)
