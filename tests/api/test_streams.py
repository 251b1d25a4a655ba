"""Audio while it is being made: as a file, in a plain `<audio>`, and as server-sent events."""

import base64
import io
import json
from typing import Any

import av
import httpx
import numpy as np
import pytest

from serve_app.audio.file_format import FileFormat
from serve_app.errors import QueueFull, ReplicaFailed
from tests.api.conftest import SAMPLE_RATE, FakeGenerator, Unexpected, leaks

PATH, STREAM = "/v1/audio/generations", "/v1/audio/stream"
MP3_DELAY = 1105  # samples of silence, which only the header that a stream cannot have tells players to leave out


async def streamed(client: httpx.AsyncClient, response_format: str) -> bytes:
    body = {
        "prompt": "a",
        "duration_s": 1,
        "seed": 7,
        "response_format": response_format,
        "stream": True,
    }
    async with client.stream("POST", PATH, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == FileFormat(response_format).media_type
        assert response.headers["x-musicgen-seed"] == "7"
        assert "content-length" not in response.headers
        return await response.aread()


def decoded(content: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    resampler = av.AudioResampler(format="flt", layout="mono")
    with av.open(io.BytesIO(content), "r") as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


async def test_a_streamed_file_holds_the_same_samples(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    whole = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "seed": 7})
    content = await streamed(client, "wav")
    assert content[44:] == whole.content[44:]
    assert await streamed(client, "pcm") == whole.content[44:]
    assert generator.closed == 3


@pytest.mark.parametrize("response_format", ["mp3", "opus", "flac"])
async def test_compressed_streams_decode_to_the_whole_files_samples(
    client: httpx.AsyncClient, response_format: str
) -> None:
    body = {"prompt": "a", "duration_s": 1, "seed": 7, "response_format": response_format}
    whole = decoded((await client.post(PATH, json=body)).content)
    stream = decoded(await streamed(client, response_format))
    start = MP3_DELAY if response_format == "mp3" else 0
    assert np.array_equal(stream[start : start + len(whole)], whole)
    assert len(whole) >= SAMPLE_RATE


async def test_a_page_plays_a_stream(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    query = {"prompt": "lofi beat", "duration_s": "2.5", "seed": "3", "top_k": "5", "model": "tiny"}
    response = await client.get(STREAM, params=query)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/mpeg")
    [request] = generator.requests
    assert (request.prompt, request.duration_s, request.model) == ("lofi beat", 2.5, "small")
    assert (request.sampling.seed, request.sampling.top_k) == (3, 5)


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


async def test_what_fails_before_the_first_audio_has_its_status(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.error = QueueFull("Too many wait.", retry_after_s=3)
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "stream": True})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert (await client.get(STREAM, params={"prompt": "a"})).status_code == 429
    assert generator.closed == 2


async def test_what_needs_the_whole_piece_is_not_streamed(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    response = await client.get(STREAM, params={"prompt": "a", "normalization": "loudness"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert "cannot be streamed" in response.json()["detail"]
    assert generator.requests == []


Event = tuple[str, dict[str, Any]]


async def events(client: httpx.AsyncClient, **body: Any) -> list[Event]:
    request = {
        "prompt": "a",
        "duration_s": 1,
        "seed": 7,
        "stream": True,
        "stream_format": "sse",
    } | body
    async with client.stream("POST", PATH, json=request) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        text = (await response.aread()).decode()
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_events_tell_what_happens(client: httpx.AsyncClient) -> None:
    whole = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "seed": 7})
    found = await events(client, response_format="pcm")
    assert [name for name, _ in found] == ["progress", "progress", "audio", "audio", "done"]
    assert found[0][1] == {"fraction": 0.0, "queue_position": 1, "audio_s": 0.0, "remaining_s": 1.0}
    assert found[1][1] == {"fraction": 0.5, "queue_position": 0, "audio_s": 0.5, "remaining_s": 1.5}
    content = b"".join(base64.b64decode(data["audio"]) for name, data in found if name == "audio")
    assert content == whole.content[44:]
    assert found[-1][1] == {
        "model": "small", "seed": 7, "license": "CC-BY-NC-4.0", "sample_rate": 32_000, "duration_s": 1.0,
        "queue_s": 0.25, "time_to_first_audio_s": 0.5, "generation_s": 2.004, "compute_s": 1.5,
        "text_encoder_s": 0.125, "first_step_s": 0.0625, "codec_s": 0.375,
        "real_time_factor": 0.5, "cost_usd": 0.0005,
    }  # fmt: skip


async def test_what_fails_on_the_way_is_an_event(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.late_error = ReplicaFailed("The replica died.")
    name, data = (await events(client))[-1]
    assert (name, data["code"], data["status"]) == ("error", "replica_failed", 503)
    generator.late_error = Unexpected()
    name, data = (await events(client))[-1]
    assert (name, data["code"]) == ("error", "internal_error")
    assert not leaks(str(data))
    assert (
        generator.closed == len(generator.requests) == 6
    )  # five tries of the first, one of the second


async def test_events_need_a_stream(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"prompt": "a", "stream_format": "sse"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert "needs stream: true" in response.json()["detail"]
