"""Limit on the size of bodies."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.fakes import FakeGenerator

GENERATIONS = "/v1/audio/generations"
Content = bytes | Callable[[], AsyncIterator[bytes]]


async def chunked() -> AsyncIterator[bytes]:
    for _ in range(101):
        yield b" " * 1000


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (GENERATIONS, b" " * 100_001),
        (GENERATIONS, chunked),
        ("/generate", b" " * 2001),
        ("/generate", chunked),
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
