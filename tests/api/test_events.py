"""Server-sent events of a track that is being made."""

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from serve_app.errors import ReplicaFailed
from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.types import GenerationRequest, StreamItem
from tests.fakes import TIMINGS, FakeGenerator, Unexpected, leaks
from tests.riff import samples_of

PATH = "/v1/audio/generations"
Event = tuple[str, dict[str, Any]]
KEYS = [
    "model", "seed", "license", "digital_source_type", "resume", "sample_rate", "duration_s", "queue_s",
    "time_to_first_audio_s", "generation_s", "compute_s", "text_encoder_s", "first_step_s", "codec_s",
    "real_time_factor", "cost_usd",
]  # fmt: skip


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


async def test_events_tell_the_progress_the_audio_and_the_facts(client: httpx.AsyncClient) -> None:
    whole = await client.post(PATH, json={"prompt": "a", "duration_s": 1, "seed": 7})
    found = await events(client, response_format="pcm")
    assert [name for name, _ in found] == ["progress", "progress", "audio", "audio", "done"]
    assert found[0][1] == {"fraction": 0.0, "queue_position": 1, "audio_s": 0.0, "remaining_s": 0.5}
    assert found[1][1] == {"fraction": 0.5, "queue_position": 0, "audio_s": 0.5, "remaining_s": 1.5}
    content = b"".join(base64.b64decode(data["audio"]) for name, data in found if name == "audio")
    assert content == samples_of(whole.content)
    done = found[-1][1]
    assert done == {
        "model": "small", "seed": 7, "license": "CC-BY-NC-4.0",
        "digital_source_type": DIGITAL_SOURCE_TYPE, "resume": "approximate", "sample_rate": 32_000,
        "duration_s": 1.0,
        "queue_s": 0.25, "time_to_first_audio_s": 0.5, "generation_s": 2.004, "compute_s": 1.5,
        "text_encoder_s": 0.125, "first_step_s": 0.0625, "codec_s": 0.375,
        "real_time_factor": 0.5, "cost_usd": 0.0005,
    }  # fmt: skip
    assert list(done) == KEYS


async def test_a_failure_on_the_way_is_an_event(
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


async def test_done_tells_the_requested_duration(client: httpx.AsyncClient) -> None:
    """The audio is a whole number of samples, which the requested duration need not be."""
    done = (await events(client, duration_s=1.00001))[-1][1]
    assert done["duration_s"] == 1.00001
    assert done["real_time_factor"] == round(1.00001 / TIMINGS.generation_s, 2)
    whole = {"prompt": "a", "duration_s": 1.00001, "response_format": "json"}
    [variation] = (await client.post(PATH, json=whole)).json()["data"]
    assert variation["duration_s"] == 1.0


async def test_headers_of_events_leave_out_the_sample_rate(
    client: httpx.AsyncClient, generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when audio comes before any progress."""
    make = generator.generate

    async def audio_alone(request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async for item in make(request.model_copy(update={"progress": False})):
            yield item

    monkeypatch.setattr(generator, "generate", audio_alone)
    body = {"prompt": "a", "duration_s": 1, "seed": 7, "stream": True}
    streamed = await client.post(PATH, json=body)
    assert streamed.headers["x-musicgen-sample-rate"] == "32000"
    as_events = await client.post(PATH, json=body | {"stream_format": "sse"})
    assert "event: progress" not in as_events.text
    assert as_events.headers["x-musicgen-seed"] == "7"
    assert "x-musicgen-sample-rate" not in as_events.headers
