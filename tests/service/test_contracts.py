"""The service's answers under each of its contracts, by HTTP and by clients of others."""

import base64
from pathlib import Path

import httpx
import pytest

from serve_app.launcher import Service
from tests.service.conftest import GENERATIONS, samples_of
from tools.demo import make_music


async def test_the_serverless_contract(client: httpx.AsyncClient) -> None:
    body = {
        "prompt": "lofi beat",
        "duration": 1,
        "temperature": 1.0,
        "model": "small",
        "decoder": "default",
    }
    response = await client.post("/", json=body)
    assert response.status_code == 200
    answer = response.json()
    content = base64.b64decode(answer["audio_base64"])
    assert len(samples_of(content)) == 32_000
    assert list(answer) == [
        "success", "audio_base64", "prompt", "model", "decoder", "duration", "sample_rate",
        "size_bytes", "generation_time_seconds", "format",
    ]  # fmt: skip
    assert (answer["success"], answer["model"], answer["duration"]) == (True, "nano", 1)
    assert answer["size_bytes"] == len(content)


async def test_the_local_contract(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/generate", json={"prompt": "lofi beat", "duration": 1, "model_size": "small"}
    )
    answer = response.json()
    assert list(answer) == ["success", "audio_base64", "prompt", "error", "metadata"]
    assert list(answer["metadata"]) == [
        "model", "model_size", "decoder", "duration", "sample_rate", "size_bytes",
        "generation_time_seconds", "framework", "device",
    ]  # fmt: skip
    assert answer["metadata"]["device"] == "cpu"
    assert (await client.get("/health")).json() == {
        "status": "healthy",
        "device": "cpu",
        "model_loaded": True,
    }


async def test_the_huggingface_contract(client: httpx.AsyncClient) -> None:
    body = {"inputs": "lofi beat", "parameters": {"max_new_tokens": 50}}
    response = await client.post("/models/facebook/musicgen-small", json=body)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
    assert len(samples_of(response.content)) == 32_000


async def test_bad_requests_get_the_contracts_sentences(client: httpx.AsyncClient) -> None:
    response = await client.post("/", json={"prompt": "a", "model": "huge"})
    names = ["nano", "small", "medium", "large", "melody"]
    assert (response.status_code, response.json()) == (
        400,
        {"detail": f"Invalid model. Must be one of: {names}"},
    )


async def test_a_replicas_error_arrives_as_a_problem_without_a_traceback(
    client: httpx.AsyncClient,
) -> None:
    body = {"prompt": "long " * 300, "duration_s": 1}
    response = await client.post(GENERATIONS, json=body)
    assert (response.status_code, response.json()["code"]) == (400, "prompt_too_long")
    job = await client.post("/v1/jobs", json=body)
    assert (job.status_code, job.json()) == (400, response.json())
    assert response.json()["detail"].endswith("but this model takes 256. Shorten the prompt.")
    response = await client.post(GENERATIONS, json={"prompt": "a", "duration_s": 121})
    assert (response.status_code, response.json()["code"]) == (400, "duration_too_long")


async def test_models_are_described(client: httpx.AsyncClient) -> None:
    [model] = (await client.get("/v1/models")).json()["data"]
    assert model.pop("created") > 0
    assert model == {
        "id": "nano",
        "object": "model",
        "owned_by": "unknown",
        "aliases": ["small", "medium", "large", "melody"],
        "source": "embedded:musicgen-nano",
        "license": "Apache-2.0",
        "loaded": True,
        "sample_rate": 32000,
        "content": "music",
        "channels": 1,
        "max_duration_s": 120.0,
        "capabilities": {
            "text": True,
            "melody": False,
            "stereo": False,
            "continuation": True,
            "max_duration_s": 120.0,
            "decoders": ["encodec"],
        },
    }


async def test_headers_have_a_limit(client: httpx.AsyncClient) -> None:
    response = await client.get("/health", headers={"x-long": "a" * 40_000})
    assert (response.status_code, response.json()["code"]) == (431, "headers_too_large")
    assert (await client.get("/health")).status_code == 200


def test_the_demo_makes_its_file(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_music(service.url, "lofi beat", 1.0, 7, tmp_path / "demo.wav")
    assert len(samples_of((tmp_path / "demo.wav").read_bytes())) == 32_000
    said = capsys.readouterr().out
    for word in (
        "file",
        "model             nano",
        "seed              7",
        "1.0 s",
        "generation time",
        "real-time factor",
        "mark: tags        trainedAlgorithmicMedia, by nano",
        "mark: signature   none",
    ):
        assert word in said
