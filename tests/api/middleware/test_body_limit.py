"""Limit on the size of bodies."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, FakeGenerator, RecordingObserver

GENERATIONS = "/v1/audio/generations"
SPEECH = "/v1/audio/speech"
Content = bytes | Callable[[], AsyncIterator[bytes]]


async def chunked() -> AsyncIterator[bytes]:
    for _ in range(101):
        yield b" " * 1000


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (GENERATIONS, b" " * 100_001),
        (GENERATIONS, chunked),
        (SPEECH, b" " * 2001),
        (SPEECH, chunked),
    ],
    ids=["announced upload", "chunked upload", "announced", "chunked"],
)
async def test_large_bodies_are_refused(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str, content: Content
) -> None:
    response = await client.post(path, content=content() if callable(content) else content)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert generator.requests == []


async def test_uploads_have_a_limit_of_their_own(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "audio_prompt": "A" * 200_000}
    response = await client.post(GENERATIONS, json=body)
    detail = "The request's body must be at most 100000 bytes"
    assert (response.status_code, response.json()["detail"]) == (413, detail)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GENERATIONS, {"prompt": "a", "duration_s": 1}),
        ("/", {"prompt": "a", "duration": 1}),
        ("/generate", {"prompt": "a", "duration": 1}),
        ("/models/facebook/musicgen-small", {"inputs": "a"}),
    ],
)
async def test_compressed_bodies_are_taken_everywhere(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str, body: object
) -> None:
    content = json.dumps(body).encode()
    for encoding, compressed in (
        ("gzip", gzip.compress(content)),
        ("deflate", zlib.compress(content)),
    ):
        headers = {"content-encoding": encoding, "content-type": "application/json"}
        response = await client.post(path, content=compressed, headers=headers)
        assert response.status_code == 200, response.text
    assert len(generator.requests) == 2


async def test_a_compressed_form_is_taken(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    form = httpx.Request("POST", "http://test", files={"prompt": (None, b"bells")})
    headers = {"content-type": form.headers["content-type"], "content-encoding": "gzip"}
    response = await client.post(GENERATIONS, content=gzip.compress(form.read()), headers=headers)
    assert response.status_code == 200, response.text
    assert [request.prompt for request in generator.requests] == ["bells"]


@pytest.mark.parametrize(
    ("encoding", "content", "status", "code"),
    [
        ("gzip", gzip.compress(b" " * 2001), 413, "payload_too_large"),
        ("gzip", b"{}", 400, "invalid_request"),
        ("br", b"{}", 415, "unsupported_encoding"),
    ],
)
async def test_compressed_bodies_that_are_refused(
    client: httpx.AsyncClient, encoding: str, content: bytes, status: int, code: str
) -> None:
    headers = {"content-encoding": encoding}
    response = await client.post(SPEECH, content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    expected = "gzip, deflate" if status == 415 else None
    assert response.headers.get("accept-encoding") == expected


async def test_bodies_beyond_the_memory_are_refused_and_counted(config: ApiConfig) -> None:
    generator, observer = FakeGenerator(), RecordingObserver()
    config = config.model_copy(update={"upload_memory_bytes": 100_000})
    api = create_api(generator, generator, [SMALL], None, config, observer)
    reading, sending = asyncio.Event(), asyncio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        yield b" " * 60_000
        reading.set()
        await sending.wait()
        yield b"{}"

    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        first = asyncio.create_task(client.post(GENERATIONS, content=slow_body()))
        await reading.wait()
        refused = await client.post(GENERATIONS, content=b" " * 60_000)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert observer.overloads == 1
        sending.set()
        assert (await first).status_code != 429
    assert observer.overloads == 1
