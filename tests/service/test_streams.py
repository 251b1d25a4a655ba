"""`/v1/audio/stream` through Serve: probes, ranges, a second fetch, several ingress replicas."""

import asyncio
import io
from time import perf_counter
from typing import Any

import httpx
import pytest
import soundfile

from serve_app.launcher import Service
from tests.conftest import STREAM_GRACE_S
from tests.service.conftest import (
    FRAME_RATE,
    KEY,
    LICENSE,
    LONG_S,
    PREFIX,
    generate,
    idle_steps,
    stats,
    unfinished,
    until,
)

STREAM = "/v1/audio/stream"
STEPS_AHEAD = 8  # more than the delays of the codebooks


async def address(client: httpx.AsyncClient, path: str = STREAM, **query: Any) -> str:
    """Address of a new stream."""
    response = await client.get(path, params=query)
    assert response.status_code == 303, response.text
    assert response.next_request is not None
    return str(response.next_request.url)


@pytest.mark.parametrize("response_format", ["mp3", "wav", "opus", "flac", "pcm"])
async def test_all_that_players_ask_for_costs_one_track(
    client: httpx.AsyncClient, response_format: str
) -> None:
    """A probe as Safari's, an open range as Chromium's, ranges, the whole, at an odd duration."""
    query: dict[str, Any] = {"prompt": "bells", "duration_s": 2.017, "seed": 5}
    before = await idle_steps(client)
    one = await address(client, **query, response_format=response_format)
    assert (await client.head(one)).status_code == 200
    assert await idle_steps(client) == before, "a track starts when it is fetched"
    probe = await client.get(one, headers={"range": "bytes=0-1"})
    opened = await client.get(one, headers={"range": "bytes=0-"})
    whole = await client.get(one)
    middle = await client.get(one, headers={"range": "bytes=100-299"})
    tail = await client.get(one, headers={"range": "bytes=-50"})
    content = whole.content
    total = len(content)
    assert (probe.status_code, probe.content) == (206, content[:2])
    assert probe.headers["content-range"] == f"bytes 0-1/{total}"
    assert (opened.status_code, opened.content) == (206, content)
    assert (whole.status_code, whole.headers["content-length"]) == (200, str(total))
    assert (middle.status_code, middle.content) == (206, content[100:300])
    assert (tail.status_code, tail.content) == (206, content[-50:])
    assert whole.headers["x-musicgen-seed"] == "5"
    assert await idle_steps(client) - before <= 2.02 * FRAME_RATE + STEPS_AHEAD, "one track"
    if response_format == "pcm":
        assert content == (await generate(client, **query, response_format="pcm")).content


async def test_it_plays_while_it_is_made(client: httpx.AsyncClient) -> None:
    before = await idle_steps(client)
    one = await address(client, prompt="bells", duration_s=12)
    async with client.stream("GET", one, headers={"range": "bytes=0-"}) as response:
        assert response.status_code == 206
        parts = response.aiter_bytes()
        size = len(await anext(parts))
        assert (await stats(client))["steps_total"] - before < 12 * FRAME_RATE
        async for part in parts:
            size += len(part)
    assert response.headers["content-range"] == f"bytes 0-{size - 1}/{size}", "told at the start"


async def test_a_range_ahead_waits_for_its_bytes(client: httpx.AsyncClient) -> None:
    one = await address(client, prompt="bells", duration_s=4, response_format="pcm")
    ahead = {"range": f"bytes={3 * 64_000}-{3 * 64_000 + 9}"}
    part, whole = await asyncio.gather(client.get(one, headers=ahead), client.get(one))
    assert part.content == whole.content[3 * 64_000 :][:10]


async def test_each_call_has_a_track_of_its_own(client: httpx.AsyncClient) -> None:
    query: dict[str, Any] = {"prompt": "bells", "duration_s": 0.5}
    answers = [await client.get(STREAM, params=query, follow_redirects=True) for _ in range(2)]
    assert len({answer.headers["x-musicgen-seed"] for answer in answers}) == 2
    assert len({str(answer.url) for answer in answers}) == 2


async def test_a_track_outlives_its_first_listener(client: httpx.AsyncClient) -> None:
    """A player that breaks off its first request to ask for a range."""
    before = await idle_steps(client)
    one = await address(client, prompt="a", duration_s=16, response_format="pcm")
    async with client.stream("GET", one) as response:
        assert response.headers["etag"] == '"1"'
    await asyncio.sleep(0.5)  # Serve tells the ingress of it meanwhile
    whole = await client.get(one)
    assert (whole.headers["etag"], len(whole.content)) == ('"1"', 16 * 64_000)
    assert await idle_steps(client) - before <= 16 * FRAME_RATE + STEPS_AHEAD, "one track"


async def test_a_track_without_listeners_is_aborted_after_a_grace(
    client: httpx.AsyncClient,
) -> None:
    one = await address(client, prompt="a", duration_s=LONG_S)
    async with unfinished(client, LONG_S):
        async with client.stream("GET", one) as response:
            assert response.status_code == 200
            await until(client, lambda s: s["slots_used"] == 1)
            left_at = perf_counter()
        await until(client, lambda s: s["slots_used"] == 0)
        assert perf_counter() - left_at > STREAM_GRACE_S / 2


async def test_any_ingress_replica_serves_a_stream(
    changed_service: Service, client: httpx.AsyncClient
) -> None:
    """Two ingress replicas: each request comes by a connection of its own, to any of them."""
    query: dict[str, Any] = {"prompt": "bells", "duration_s": 1, "seed": 5, "model": "mini"}
    expected = (await generate(client, **query, response_format="pcm")).content
    for _ in range(4):
        one = await address(client, **query, response_format="pcm")
        answers = await asyncio.gather(*(fresh(one, {}) for _ in range(6)))
        answers += [await fresh(one, {"range": "bytes=0-1"}) for _ in range(6)]
        assert {answer.content for answer in answers} == {expected, expected[:2]}
        assert {answer.status_code for answer in answers} == {200, 206}
        versions = {answer.headers["etag"] for answer in answers}
        assert versions == {'"1"'}, "one track"
    unknown = str(httpx.URL(one).join("x" * 32))
    answers = [await fresh(unknown, {}) for _ in range(6)]
    assert {answer.status_code for answer in answers} == {404}
    assert one.startswith(changed_service.url)


async def fresh(url: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.get(url, headers=headers)


async def test_all_works_below_a_prefix_behind_keys(
    changed_service: Service, client: httpx.AsyncClient
) -> None:
    for path in ("/", "/health", "/docs", "/openapi.json", "/static/main.js", "/service-worker.js"):
        assert (await client.get(PREFIX + path)).status_code == 200, path
        assert (await client.head(PREFIX + path)).status_code == 200, path
    assert (await client.get(f"{PREFIX}/v1/models")).status_code == 401
    headers = {"authorization": f"Bearer {KEY}"}
    path = f"{PREFIX}/v1/audio/generations"
    padded = {"prompt": "bells", "duration_s": "0.5"}
    beginning = (await generate(client, prompt="bells", duration_s=3, model="mini")).content
    assert len(beginning) > 65_536, "longer than other bodies may be"
    form = padded | {"duration_s": "3.5"}
    answer = await client.post(
        path, data=form, files={"audio_prompt": ("a.wav", beginning)}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    told = answer.headers["x-musicgen-license"]
    assert told.startswith("UTF-8''"), "RFC 8187"
    assert LICENSE.strip() in httpx.URL(f"http://a/?a={told}").params["a"]
    assert (await client.post(path, data=padded)).status_code == 401
    large = await client.post(f"{PREFIX}/v1/audio/speech", content=b" " * 65_537, headers=headers)
    assert large.status_code == 413
    assert (await client.get(PREFIX + STREAM, params=padded)).status_code == 401
    url = changed_service.url + PREFIX + STREAM
    async with httpx.AsyncClient(headers=headers, timeout=60) as caller:
        one = await address(caller, url, **padded)
    assert f"{PREFIX}/v1/audio/streams/" in one
    played = await client.get(one)
    assert (played.status_code, played.headers["content-type"]) == (200, "audio/mpeg")
    content = (await client.get(one, headers={"range": "bytes=0-"})).content
    assert content == played.content
    assert soundfile.info(io.BytesIO(content)).frames > 0
