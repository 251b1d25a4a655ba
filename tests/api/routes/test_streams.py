"""`/v1/audio/stream`: one track behind one address, whole and in ranges."""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.errors import QueueFull
from serve_app.gateway.stream_store import StreamStore
from serve_app.types import AudioChunk, GenerationRequest, StreamItem
from tests.fakes import SMALL, FakeGenerator

STREAM = "/v1/audio/stream"
QUERY = {"prompt": "lofi beat", "duration_s": "1", "seed": "3"}


async def address(client: httpx.AsyncClient, **query: str) -> str:
    """Address of a new stream."""
    response = await client.get(STREAM, params=QUERY | query, follow_redirects=False)
    assert response.status_code == 303
    assert response.headers["cache-control"] == "no-store"
    return str(response.next_request.url) if response.next_request else ""


async def test_a_player_is_redirected(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    query = {"prompt": "lofi beat", "duration_s": "2.5", "seed": "3", "top_k": "5", "model": "tiny"}
    response = await client.get(STREAM, params=query)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/mpeg")
    assert str(response.url).startswith("http://test/v1/audio/streams/")
    assert response.headers["content-length"] == str(len(response.content))
    assert response.headers["x-musicgen-seed"] == "3"
    [request] = generator.requests
    assert (request.prompt, request.duration_s, request.model) == ("lofi beat", 2.5, "small")
    assert (request.sampling.seed, request.sampling.top_k) == (3, 5)


async def test_each_call_has_a_track_of_its_own(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    addresses = {await address(client, seed="") for _ in range(3)}
    assert len(addresses) == 3
    assert generator.requests == [], "a track starts when it is fetched"
    for one in addresses:
        await client.get(one)
    assert len({request.sampling.seed for request in generator.requests}) == 3


@pytest.mark.parametrize("response_format", ["mp3", "wav", "pcm", "flac", "opus"])
async def test_probes_and_ranges_cost_no_second_track(
    client: httpx.AsyncClient, generator: FakeGenerator, response_format: str
) -> None:
    one = await address(client, response_format=response_format)
    assert (await client.head(one)).status_code == 200
    assert generator.requests == [], "HEAD starts nothing"
    probe = await client.get(one, headers={"range": "bytes=0-1"})  # as Safari begins
    whole = await client.get(one)
    total = len(whole.content)
    assert (probe.status_code, probe.content) == (206, whole.content[:2])
    assert probe.headers["content-range"] == f"bytes 0-1/{total}"
    assert probe.headers["content-length"] == "2"
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    for header, expected in {
        f"bytes=0-{total - 1}": range(total),
        "bytes=0-": range(total),
        "bytes=100-": range(100, total),
        "bytes=10-19": range(10, 20),
        "bytes=-7": range(total - 7, total),
        "bytes=5-999999999999999999999": range(5, total),
    }.items():
        part = await client.get(one, headers={"range": header})
        assert part.status_code == 206, header
        assert part.content == whole.content[expected.start : expected.stop]
        between = f"bytes {expected.start}-{expected.stop - 1}/{total}"
        assert part.headers["content-range"] == between
        assert part.headers["content-type"] == whole.headers["content-type"]
    head = await client.head(one, headers={"range": "bytes=0-1"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(total))
    assert len(generator.requests) == 1


class Waiting(FakeGenerator):
    """Ends its tracks once their file has begun to be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = asyncio.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async for item in super().generate(request):
            if isinstance(item, AudioChunk) and item.finish_reason is not None:
                half = item.samples.shape[1] // 2
                yield AudioChunk(item.samples[:, :half], item.sample_rate)
                await self.sent.wait()
                item = replace(item, samples=item.samples[:, half:])
            yield item


@pytest.mark.parametrize("response_format", ["mp3", "flac"])
async def test_an_open_range_from_the_beginning_does_not_wait(response_format: str) -> None:
    """Chromium's first request. Its length is told where it is known."""
    generator = Waiting()
    app = create_api(generator, generator, [SMALL], None, ApiConfig())
    status: dict[str, Any] = {}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            status.update(message)
        generator.sent.set()

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        path = httpx.URL(await address(client, response_format=response_format)).path
    headers = [(b"range", b"bytes=0-")]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": b""}]

    async def receive() -> MutableMapping[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async with asyncio.timeout(60):
        await app({**scope, "query_string": b""}, receive, send)
    assert status["status"] == (206 if response_format == "mp3" else 200)
    names = {name for name, _ in status["headers"]}
    assert (b"content-length" in names) == (response_format == "mp3")


async def test_ranges_beyond_the_end_and_strange_ones(client: httpx.AsyncClient) -> None:
    one = await address(client, response_format="pcm")
    beyond = await client.get(one, headers={"range": "bytes=64000-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == "bytes */64000"
    for header in ("bytes=0-1,5-6", "bytes=5-2", "rows=1-2", "bytes=-"):
        assert (await client.get(one, headers={"range": header})).status_code == 200, header


async def test_a_condition_on_the_range(client: httpx.AsyncClient) -> None:
    one = await address(client, response_format="pcm")
    tag = (await client.get(one)).headers["etag"]
    for condition, status in ((tag, 206), ('"other"', 200), ("Thu, 26 Nov 2026 00:00:00 GMT", 200)):
        headers = {"range": "bytes=0-1", "if-range": condition}
        assert (await client.get(one, headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "duration_s": "x"}, "duration_s"),
        ({"prompt": "a", "x": 1}, "x"),
    ],
)
async def test_bad_queries_are_named(
    client: httpx.AsyncClient, query: dict[str, Any], field: str
) -> None:
    response = await client.get(STREAM, params=query)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize("query", ["prompt=a&prompt=b", "prompt=a&seed=1&seed=1"])
async def test_repeated_fields_are_refused(
    client: httpx.AsyncClient, generator: FakeGenerator, query: str
) -> None:
    response = await client.get(f"{STREAM}?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert "is repeated: send each field of the query once" in response.json()["detail"]
    assert generator.requests == []


async def test_normalization_that_measures_the_track_is_refused(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    response = await client.get(STREAM, params=QUERY | {"normalization": "loudness"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert "cannot be streamed" in response.json()["detail"]
    assert generator.requests == []


async def test_a_failure_before_the_first_audio_has_its_status_and_may_be_tried_again(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    one = await address(client)
    generator.error = QueueFull("Too many wait.", retry_after_s=3)
    response = await client.get(one)
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert response.headers["retry-after"] == "3"
    generator.error = None
    assert (await client.get(one)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_unknown_id_is_not_found(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/v1/audio/streams/abc")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_the_id_alone_is_the_key_of_its_stream(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A player cannot send a key. The track counts against the key of the first call."""
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:web-key-0123456789")
    app = create_api(generator, generator, [SMALL], None, ApiConfig())
    transport = httpx.ASGITransport(app, root_path="/music")
    async with httpx.AsyncClient(transport=transport, base_url="http://test/music") as client:
        assert (await client.get(STREAM, params=QUERY)).status_code == 401
        key = {"authorization": "Bearer web-key-0123456789"}
        redirect = await client.get(STREAM, params=QUERY, headers=key)
        assert redirect.next_request is not None
        assert redirect.next_request.url.path.startswith("/music/v1/audio/streams/")
        assert (await client.get(redirect.next_request.url)).status_code == 200
        assert (await client.post(str(redirect.next_request.url))).status_code == 401
    assert [request.caller for request in generator.requests] == ["web"]


async def test_the_end_of_the_application_ends_its_streams(generator: FakeGenerator) -> None:
    streams = StreamStore(10_000_000, kept_s=300, grace_s=5)
    app = create_api(generator, generator, [SMALL], None, ApiConfig(), streams=streams)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", follow_redirects=True
    ) as client:
        async with app.router.lifespan_context(app):
            assert (await client.get(STREAM, params=QUERY)).status_code == 200
            assert streams.used_bytes > 0
        assert streams.used_bytes == 0


@pytest.mark.parametrize(
    ("query", "media_type"),
    [({}, "audio/ogg"), ({"response_format": ""}, "audio/ogg"), ({"response_format": "mp3"}, "audio/mpeg")],
    ids=["none", "empty", "mp3"],
)  # fmt: skip
async def test_a_service_chooses_the_format_that_a_caller_leaves_open(
    query: dict[str, str], media_type: str
) -> None:
    config = ApiConfig(stream_default_format="opus")
    generator = FakeGenerator()
    app = create_api(generator, generator, [SMALL], None, config)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", follow_redirects=True
    ) as client:
        response = await client.get(STREAM, params=QUERY | query)
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
