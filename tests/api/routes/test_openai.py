"""OpenAI's `POST /v1/audio/speech` over the fake generator."""

import base64
import io
import json
from typing import Any

import httpx
import pytest
import soundfile

from serve_app.api.schemas.openai import Speech
from serve_app.errors import PromptTooLong, ReplicaFailed
from serve_app.types import SamplingParams
from tests.api.schemas.documented import SAMPLING, documented
from tests.fakes import FakeGenerator

PATH = "/v1/audio/speech"


def events_of(text: str) -> list[dict[str, Any]]:
    """The events' data; no event has a name."""
    lines = [line for line in text.splitlines() if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_a_client_gets_the_file(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    body = {"input": " lofi beat ", "model": "tiny", "voice": "alloy", "duration_s": 2}
    response = await client.post(PATH, json=body)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/mpeg")
    assert response.headers["x-musicgen-ignored"] == "voice"
    assert response.headers["x-musicgen-model"] == "small"
    assert "x-musicgen-generation-s" in response.headers
    samples, rate = soundfile.read(io.BytesIO(response.content))
    assert len(samples) / rate == pytest.approx(2.0, abs=0.1)
    [request] = generator.requests
    assert (request.prompt, request.model, request.duration_s) == ("lofi beat", "small", 2.0)
    assert not request.streamed


async def test_options_of_this_service_are_taken_beside_openais(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = {"input": "a", "seed": 7, "temperature": 0.5, "duration_s": 1, "bitrate_kbps": 64}
    response = await client.post(PATH, json=body | {"normalization": "peak", "stream_format": None})
    assert response.status_code == 200
    assert "x-musicgen-ignored" not in response.headers
    sampling = generator.requests[0].sampling
    assert (sampling.seed, sampling.temperature) == (7, 0.5)


@pytest.mark.parametrize(
    ("name", "media_type", "rate"),
    [
        ("mp3", "audio/mpeg", 32_000),
        ("opus", "audio/ogg", 48_000),
        ("flac", "audio/flac", 32_000),
        ("wav", "audio/wav", 32_000),
    ],
)
async def test_formats(client: httpx.AsyncClient, name: str, media_type: str, rate: int) -> None:
    body = {"input": "a", "voice": {"id": "v"}, "response_format": name, "duration_s": 1}
    response = await client.post(PATH, json=body)
    assert response.headers["content-type"] == media_type
    _, found = soundfile.read(io.BytesIO(response.content))
    assert found == rate


async def test_pcm_is_at_the_rate_that_its_players_expect(client: httpx.AsyncClient) -> None:
    body = {"input": "a", "response_format": "pcm", "duration_s": 1}
    assert len((await client.post(PATH, json=body)).content) == 2 * 24_000
    other = await client.post(PATH, json=body | {"sample_rate": 16_000})
    assert len(other.content) == 2 * 16_000


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("speed", 1.5, "1.5 is not supported, only 1"),
        ("response_format", "aac", "aac is not available: use one of wav, flac, mp3, opus, pcm"),
        ("response_format", "json", "Input should be"),
        ("instructions", "sing softly", "there is no voice to instruct"),
        ("voice", 3, "must be a name"),
        ("voice", {"name": "x"}, "must be a name"),
        ("input", "  ", "cannot be empty"),
        ("input", "a" * 101, "at most 100 characters"),
        ("stream_format", "wav", "Input should be"),
        ("duration_s", "1", "valid number"),
        ("prompt", "a", "not permitted"),
        ("audio_prompt", "UklGRg==", "not permitted"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, generator: FakeGenerator, field: str, value: object, said: str
) -> None:
    response = await client.post(PATH, json={"input": "a", field: value})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", field)
    assert error["message"].startswith(f"{field}: ")
    assert said in error["message"]
    assert generator.requests == []


async def test_unknown_models_and_bodies(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"input": "a", "model": "tts-1"})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (
        404,
        "model",
        "model_not_found",
    )
    for content in (b"[]", b"{", b"a=b"):
        response = await client.post(PATH, content=content)
        assert response.json()["error"]["message"] == "The request's body must be a JSON object"


async def test_the_file_is_sent_while_it_is_made(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = {"input": "a", "voice": "x", "stream_format": "audio", "duration_s": 1}
    response = await client.post(PATH, json=body | {"response_format": "pcm"})
    assert (response.status_code, len(response.content)) == (200, 2 * 24_000)
    assert response.headers["x-musicgen-ignored"] == "voice"
    assert response.headers["cache-control"] == "no-store"
    assert "content-length" not in response.headers
    assert generator.requests[0].streamed
    refused = await client.post(PATH, json=body | {"normalization": "peak"})
    assert "cannot be streamed" in refused.json()["error"]["message"]


async def test_events(client: httpx.AsyncClient) -> None:
    body = {"input": "a", "voice": "x", "stream_format": "sse", "duration_s": 1, "seed": 5}
    response = await client.post(PATH, json=body | {"response_format": "pcm"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-musicgen-ignored"] == "voice"
    *deltas, done = events_of(response.text)
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    content = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert len(content) == 2 * 24_000
    assert (done["type"], done["usage"]) == (
        "speech.audio.done",
        {"type": "duration", "seconds": 1.0},
    )
    assert done["track"]["seed"] == 5


async def test_a_failure_after_the_first_event_is_an_event(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.late_error = ReplicaFailed("it is gone")
    body = {"input": "a", "stream_format": "sse", "duration_s": 1, "response_format": "pcm"}
    *_, last = events_of((await client.post(PATH, json=body)).text)
    assert last == {
        "type": "error",
        "error": {
            "message": "it is gone",
            "type": "server_error",
            "param": None,
            "code": "replica_failed",
        },
    }


async def test_an_event_of_an_error_names_the_field_at_fault(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.late_error = PromptTooLong("too long")
    body = {"input": "a", "stream_format": "sse", "duration_s": 1, "response_format": "pcm"}
    *_, last = events_of((await client.post(PATH, json=body)).text)
    assert last["error"]["param"] == "input"


@pytest.mark.parametrize("name", SAMPLING)
def test_every_sampling_parameter_is_an_option(name: str) -> None:
    assert documented(Speech.model_json_schema()["properties"][name]) == documented(SAMPLING[name])


def test_options_become_the_sampling() -> None:
    speech = Speech.model_validate({"input": "a", "cfg_coef": 4.0, "top_p": 0.5, "seed": 3})
    assert speech.sampling() == SamplingParams(cfg_coef=4.0, top_p=0.5, seed=3)
