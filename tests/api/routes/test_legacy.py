"""Contracts of the replaced servers, as recorded pairs of request and response."""

import base64
import io
from typing import Any

import httpx
import pytest
import soundfile

from serve_app.errors import DurationTooLong, GenerationFailed, ModelLoading, QueueFull
from tests.fakes import SAMPLE_RATE, FakeGenerator, Unexpected, leaks
from tests.riff import samples_of

PROMPT, DURATION, TEMPERATURE, MODEL, DECODER = (
    "Prompt is required and cannot be empty",
    "Duration must be between 1 and 30 seconds",
    "Temperature must be between 0.1 and 2.0",
    "Invalid model. Must be one of: ['small', 'tiny', 'large']",
    "Invalid decoder. Must be 'default' or 'multiband_diffusion'",
)


async def test_serverless_answer(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    body = {
        "prompt": " lofi beat ",
        "duration": 2,
        "temperature": 0.9,
        "model": "small",
        "decoder": "default",
    }
    response = await client.post("/", json=body)
    assert response.status_code == 200
    answer = response.json()
    wav = base64.b64decode(answer.pop("audio_base64"), validate=True)
    assert answer == {
        "success": True,
        "prompt": "lofi beat",
        "model": "small",
        "decoder": "default",
        "duration": 2,
        "sample_rate": 32000,
        "size_bytes": len(wav),
        "generation_time_seconds": 2.0,
        "format": "wav",
    }
    assert 'duration":2,' in response.text, "an integer stays an integer"
    samples, sample_rate = soundfile.read(io.BytesIO(wav))
    assert (len(samples), sample_rate) == (2 * SAMPLE_RATE, SAMPLE_RATE)
    [request] = generator.requests
    assert (request.prompt, request.duration_s, request.model) == ("lofi beat", 2.0, "small")
    assert request.sampling.model_dump(exclude={"seed"}) == {
        "temperature": 0.9,
        "top_k": 250,
        "top_p": 0.0,
        "cfg_coef": 3.0,
    }


async def test_serverless_defaults(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    response = await client.post("/", json={"prompt": "lofi beat", "unknown": "ignored"})
    assert response.json()["duration"] == 30
    wav = base64.b64decode(response.json()["audio_base64"])
    assert response.json()["size_bytes"] == len(wav)
    assert len(samples_of(wav)) == 1_920_000
    assert generator.requests[0].sampling.temperature == 1.0


async def test_alias_is_answered_with_the_models_name(client: httpx.AsyncClient) -> None:
    response = await client.post("/", json={"prompt": "lofi beat", "duration": 1, "model": "tiny"})
    assert response.json()["model"] == "small"


BAD: list[tuple[Any, str]] = [
    ({}, PROMPT),
    ({"prompt": ""}, PROMPT),
    ({"prompt": " \n "}, PROMPT),
    ({"prompt": None}, PROMPT),
    ({"prompt": 5}, PROMPT),
    ({"prompt": "a", "duration": 0}, DURATION),
    ({"prompt": "a", "duration": 0.5}, DURATION),
    ({"prompt": "a", "duration": 31}, DURATION),
    ({"prompt": "a", "duration": "10"}, DURATION),
    ({"prompt": "a", "duration": None}, DURATION),
    ({"prompt": "a", "duration": True}, DURATION),
    ({"prompt": "a", "duration": [1]}, DURATION),
    ({"prompt": "a", "duration": 1e308}, DURATION),
    ({"prompt": "a", "temperature": 0.05}, TEMPERATURE),
    ({"prompt": "a", "temperature": 2.1}, TEMPERATURE),
    ({"prompt": "a", "temperature": "hot"}, TEMPERATURE),
    ({"prompt": "a", "model": "huge"}, MODEL),
    ({"prompt": "a", "model": ["small"]}, MODEL),
    ({"prompt": "a", "model": {}}, MODEL),
    ({"prompt": "a", "decoder": "magic"}, DECODER),
    ({"prompt": "a", "decoder": None}, DECODER),
    ({"prompt": "x" * 101}, "Prompt must be at most 100 characters long"),
    ([], "Request body must be a JSON object"),
    ("text", "Request body must be a JSON object"),
]


@pytest.mark.parametrize("path", ["/", "/generate"])
@pytest.mark.parametrize(("body", "sentence"), BAD, ids=str)
async def test_bad_requests_get_the_contracts_sentences(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str, body: Any, sentence: str
) -> None:
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()) == (400, {"detail": sentence})
    assert generator.requests == []


@pytest.mark.parametrize("path", ["/", "/generate"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"prompt": "a", "duration": NaN}',
        b"[" * 1900,
        b'{"prompt": "\\ud800"}',
    ],
)
async def test_broken_bodies_are_bad_requests(
    client: httpx.AsyncClient, path: str, content: bytes
) -> None:
    response = await client.post(path, content=content)
    assert (response.status_code, list(response.json())) == (400, ["detail"])


@pytest.mark.parametrize("path", ["/", "/generate"])
async def test_multiband_diffusion_is_refused_and_not_ignored(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.post(path, json={"prompt": "a", "decoder": "multiband_diffusion"})
    assert response.status_code == 400
    assert (
        "none of the models served here (small, tiny, large) is configured"
        in response.json()["detail"]
    )


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (
            GenerationFailed("the output is not finite"),
            500,
            "Generation failed: the output is not finite",
        ),
        (ModelLoading("Not ready."), 503, "Generation failed: Not ready."),
        (QueueFull("Too many wait.", retry_after_s=2.5), 429, "Generation failed: Too many wait."),
        (DurationTooLong("Up to 10."), 400, "Up to 10."),
    ],
)
async def test_serverless_failures(
    client: httpx.AsyncClient, generator: FakeGenerator, error: Exception, status: int, detail: str
) -> None:
    generator.error = error
    response = await client.post("/", json={"prompt": "a", "duration": 1})
    assert (response.status_code, response.json()) == (status, {"detail": detail})
    if isinstance(error, QueueFull):
        assert response.headers["retry-after"] == "3"


@pytest.mark.parametrize("path", ["/", "/generate"])
async def test_unexpected_failures_leak_nothing(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str
) -> None:
    generator.error = Unexpected()
    response = await client.post(path, json={"prompt": "a", "duration": 1})
    assert not leaks(response.text)
    assert response.status_code == (500 if path == "/" else 200)
    assert "Generation failed: Unexpected error" in response.text


async def test_local_answer(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/generate", json={"prompt": "lofi beat", "duration": 1, "model_size": "tiny"}
    )
    assert response.status_code == 200
    answer = response.json()
    size = len(base64.b64decode(answer.pop("audio_base64"), validate=True))
    assert answer == {
        "success": True,
        "prompt": "lofi beat",
        "error": None,
        "metadata": {
            "model": "facebook/musicgen-small",
            "model_size": "small",
            "decoder": "default",
            "duration": 1,
            "sample_rate": 32000,
            "size_bytes": size,
            "generation_time_seconds": 2.0,
            "framework": "AudioCraft",
            "device": "cuda",
        },
    }


@pytest.mark.parametrize(
    ("names", "answered"),
    [
        ({"model_size": "large"}, "large"),
        ({"model": "small", "model_size": "large"}, "small"),
        ({}, "small"),
    ],
)
async def test_model_wins_over_model_size(
    client: httpx.AsyncClient, generator: FakeGenerator, names: dict[str, str], answered: str
) -> None:
    await client.post("/generate", json={"prompt": "a", "duration": 1, **names})
    assert generator.requests[0].model == answered


@pytest.mark.parametrize(
    "error", [GenerationFailed("no luck"), QueueFull("no luck"), ModelLoading("no luck")]
)
async def test_local_failure_is_an_answer(
    client: httpx.AsyncClient, generator: FakeGenerator, error: Exception
) -> None:
    generator.error = error
    response = await client.post("/generate", json={"prompt": "lofi beat", "duration": 1})
    assert response.status_code == 200
    assert response.json() == {
        "success": False,
        "audio_base64": None,
        "prompt": "lofi beat",
        "error": "Generation failed: no luck",
        "metadata": {},
    }


async def test_stats(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/stats")).json()
    models = answer.pop("models")
    assert answer == {
        "device": "cuda",
        "model_loaded": True,
        "model_size": "small",
        "cuda_available": True,
    }
    assert models["large"] == []
    assert (
        models["small"][0] | {"slots_used": 3, "queued_requests": 1, "steps_total": 500}
        == models["small"][0]
    )


@pytest.mark.parametrize("path", ["/", "/generate"])
async def test_preflight_from_a_page_in_development(client: httpx.AsyncClient, path: str) -> None:
    headers = {
        "origin": "http://localhost:5173",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    response = await client.options(path, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert "access-control-allow-credentials" not in response.headers
    answer = await client.post(
        path, json={"prompt": "a", "duration": 1}, headers={"origin": "http://localhost:5173"}
    )
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"


async def test_a_full_models_fallback_is_named(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.full = ("large",)
    body = {"prompt": "a", "duration": 1, "model": "large"}
    answer = (await client.post("/", json=body)).json()
    assert answer["model"] == "small"
    assert len(base64.b64decode(answer["audio_base64"])) == answer["size_bytes"]
