"""Forms of errors: each route's clients read the error of any layer."""

import httpx
import pytest

from serve_app.errors import GenerationFailed, QueueFull
from tests.fakes import FakeGenerator, Unexpected, leaks

OPENAI = ("/v1/audio/speech", "/v1/audio/generate", "/v1/audio/generations", "/v1/nothing")
ELEVENLABS = ("/v1/music", "/v1/music/stream", "/v1/music/detailed", "/v1/sound-generation")
HUGGING_FACE = "/models/facebook/musicgen-small"
TOO_LARGE = b" " * 200_000


def body_for(path: str) -> dict[str, object]:
    """A valid request for a track of 3 seconds."""
    if path == "/v1/sound-generation":
        return {"text": "a", "duration_seconds": 3}
    if path in ELEVENLABS:
        return {"prompt": "a", "music_length_ms": 3000}
    if path == "/v1/audio/generations":
        return {"prompt": "a", "duration_s": 3}
    return {"input": "a", "audio_length" if path.endswith("/generate") else "duration_s": 3}


async def test_openais_clients_read_the_object_error(client: httpx.AsyncClient) -> None:
    for path in OPENAI:
        response = await client.post(path, content=TOO_LARGE)
        problem = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert problem["error"] == {
            "message": problem["detail"],
            "type": "invalid_request_error",
            "param": None,
            "code": "payload_too_large",
        }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (QueueFull("Later.", 3.0), "rate_limit_error"),
        (GenerationFailed("no luck"), "server_error"),
        (Unexpected(), "server_error"),
    ],
)
async def test_failures_of_openais_routes(
    client: httpx.AsyncClient, generator: FakeGenerator, error: Exception, kind: str
) -> None:
    generator.error = error
    for path in OPENAI[:3]:
        response = await client.post(path, json=body_for(path))
        assert response.json()["error"]["type"] == kind
        assert response.json()["error"]["message"] == response.json()["detail"]
        assert ("retry-after" in response.headers) is isinstance(error, QueueFull)
        assert not leaks(response.text)


async def test_elevenlabs_clients_read_the_object_detail(client: httpx.AsyncClient) -> None:
    headers = {"x-request-id": "this-one"}
    for path in ELEVENLABS:
        response = await client.post(path, content=TOO_LARGE, headers=headers)
        detail = response.json()["detail"]
        assert response.headers["content-type"] == "application/json"
        assert detail.pop("message")
        assert detail == {
            "type": "validation_error",
            "code": "payload_too_large",
            "status": "payload_too_large",
            "request_id": "this-one",
            "param": None,
        }


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (QueueFull("Later.", 3.0), 429, "rate_limit_error"),
        (GenerationFailed("no luck"), 500, "internal_error"),
        (Unexpected(), 500, "internal_error"),
    ],
)
async def test_failures_of_elevenlabs_routes(
    client: httpx.AsyncClient, generator: FakeGenerator, error: Exception, status: int, kind: str
) -> None:
    generator.error = error
    for path in ELEVENLABS:
        response = await client.post(path, json=body_for(path))
        assert (response.status_code, response.json()["detail"]["type"]) == (status, kind)
        assert ("retry-after" in response.headers) is isinstance(error, QueueFull)
        assert not leaks(response.text)


async def test_hugging_faces_clients_read_the_sentence(client: httpx.AsyncClient) -> None:
    problem = (await client.post(HUGGING_FACE, content=TOO_LARGE)).json()
    assert problem["error"] == problem["detail"]
    assert problem["code"] == "payload_too_large"


async def test_the_older_contract_has_no_such_member(client: httpx.AsyncClient) -> None:
    problem = (await client.post("/generate", content=TOO_LARGE)).json()
    assert problem["code"] == "payload_too_large"
    assert "error" not in problem


async def test_half_a_surrogate_pair_in_a_refused_value_breaks_no_form(
    client: httpx.AsyncClient,
) -> None:
    for path in (*OPENAI[:2], "/v1/music"):
        field = "model_id" if path == "/v1/music" else "model"
        content = f'{{"prompt": "a", "input": "a", "{field}": "\\ud800"}}'
        response = await client.post(path, content=content)
        assert response.status_code in (400, 404)
        assert int(response.headers["content-length"]) == len(response.content)
        assert response.json()
