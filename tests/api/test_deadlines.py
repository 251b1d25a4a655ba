"""What a caller would not wait for is given up, and what it gave its time for is not."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from serve_app.types import AudioChunk, GenerationRequest
from tests.api.conftest import FakeGenerator

PATH, HEADER = "/v1/audio/generations", "x-request-timeout-seconds"


class Slow(FakeGenerator):
    """Its first audio comes at once, the rest never."""

    ended = False

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        try:
            async for chunk in super().generate(request):
                yield chunk
                await asyncio.Event().wait()
        finally:
            self.ended = True


@pytest.fixture
def generator() -> FakeGenerator:
    return Slow()


@pytest.mark.parametrize(
    ("path", "body"),
    [(PATH, {"prompt": "a"}), ("/", {"prompt": "a"}), ("/models/x/small", {"inputs": "a"})],
)
async def test_it_ends_in_time(
    client: httpx.AsyncClient, generator: Slow, path: str, body: dict[str, str]
) -> None:
    async with asyncio.timeout(10):
        response = await client.post(path, json=body, headers={HEADER: "0.05"})
    assert response.status_code == 504
    assert generator.ended
    assert "not finished in the time that its caller gave it" in response.text


async def test_a_stream_ends_with_an_event(client: httpx.AsyncClient, generator: Slow) -> None:
    body = {"prompt": "a", "stream": True, "stream_format": "sse"}
    async with asyncio.timeout(10):
        response = await client.post(PATH, json=body, headers={HEADER: "0.05"})
    assert response.status_code == 200
    assert "deadline_exceeded" in response.text.rstrip().rpartition("event: ")[2]
    assert generator.ended


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "soon", ""])
async def test_what_is_no_time_is_refused(
    client: httpx.AsyncClient, generator: Slow, text: str
) -> None:
    response = await client.post(PATH, json={"prompt": "a"}, headers={HEADER: text})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert HEADER in response.json()["detail"]
    assert generator.requests == []


async def test_time_enough_changes_nothing(client: httpx.AsyncClient, generator: Slow) -> None:
    generator.generate = FakeGenerator().generate  # type: ignore[method-assign]
    response = await client.post(
        PATH, json={"prompt": "a", "duration_s": 1}, headers={HEADER: "100"}
    )
    assert response.status_code == 200
