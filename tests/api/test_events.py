"""Server-sent events of a track that is being made."""

import base64
import json
from typing import Any

import httpx

from serve_app.errors import ReplicaFailed
from tests.fakes import FakeGenerator, Unexpected, leaks

PATH = "/v1/audio/generations"
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
