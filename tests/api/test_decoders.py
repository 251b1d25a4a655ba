"""The field `decoder`: used by models that have it, refused by name for others and for streams."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.types import ENCODEC, MULTIBAND_DIFFUSION
from tests.fakes import LARGE, SMALL, FakeGenerator
from tests.jobs.rooms import JobRoom, client_of

ABLE = replace(LARGE, decoders=(ENCODEC, MULTIBAND_DIFFUSION))
BODY = {"prompt": "a", "duration": 1, "decoder": MULTIBAND_DIFFUSION}
GENERATION = {"prompt": "a", "duration_s": 1, "decoder": MULTIBAND_DIFFUSION}


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator(step_s={"small": 0.01, "large": 0.02})


@pytest.fixture
async def client(generator: FakeGenerator) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(
        create_api(generator, generator, [SMALL, ABLE], "small", ApiConfig())
    ) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/generate"])
async def test_contracts_use_it(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str
) -> None:
    response = await client.post(path, json=BODY | {"model": "large"})
    answer = response.json()
    assert (response.status_code, answer["success"]) == (200, True)
    assert answer.get("metadata", answer)["decoder"] == "multiband_diffusion"
    [request] = generator.requests
    assert (request.model, request.decoder, request.streamed) == (
        "large",
        MULTIBAND_DIFFUSION,
        False,
    )


@pytest.mark.parametrize("path", ["/", "/generate"])
async def test_contracts_refuse_it_for_another_model(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str
) -> None:
    response = await client.post(path, json=BODY)
    assert response.status_code == 400
    assert response.json() == {
        "detail": "Decoder 'multiband_diffusion' is not available for model 'small', only for large. "
        "Ask for one of these, or use 'default'."
    }
    assert generator.requests == []


@pytest.mark.parametrize("more", [{}, {"n": 2, "response_format": "json"}])
async def test_a_generation_uses_it(
    client: httpx.AsyncClient, generator: FakeGenerator, more: dict[str, Any]
) -> None:
    response = await client.post(
        "/v1/audio/generations", json=GENERATION | {"model": "large", **more}
    )
    assert response.status_code == 200
    assert {request.decoder for request in generator.requests} == {MULTIBAND_DIFFUSION}


async def test_a_generation_is_by_encodec_by_default(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    await client.post("/v1/audio/generations", json={"prompt": "a", "duration_s": 1})
    assert generator.requests[0].decoder == ENCODEC


async def test_a_generation_by_another_model_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/audio/generations", json=GENERATION)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "decoder_unavailable")
    assert "only for large" in problem["detail"]
    response = await client.post("/v1/audio/generations", json=GENERATION | {"decoder": "other"})
    assert response.status_code == 400
    assert "decoder" in response.json()["detail"]


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_a_stream_is_refused_by_name(
    client: httpx.AsyncClient, generator: FakeGenerator, stream_format: str
) -> None:
    body = GENERATION | {"model": "large", "stream": True, "stream_format": stream_format}
    response = await client.post("/v1/audio/generations", json=body)
    assert response.status_code == 400
    assert "decoder: 'multiband_diffusion' decodes whole tracks" in response.json()["detail"]
    query = {name: str(value) for name, value in (GENERATION | {"model": "large"}).items()}
    response = await client.get("/v1/audio/stream", params=query)
    assert response.status_code == 400
    assert "'multiband_diffusion' decodes whole tracks" in response.json()["detail"]
    speech = {"input": "a", "model": "large", "stream_format": stream_format, "duration_s": 1}
    response = await client.post("/v1/audio/speech", json=speech | {"decoder": MULTIBAND_DIFFUSION})
    assert (response.status_code, response.json()["code"]) == (400, "decoder_unavailable")
    assert generator.requests == []


async def test_auto_is_a_model_that_has_it(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.step_s["small"] = 0.0001
    body = GENERATION | {"model": "auto", "max_wait_s": 0.001}
    response = await client.post("/v1/audio/generations", json=body)
    assert response.headers["x-musicgen-model"] == "large"


async def test_a_fallback_without_it_does_not_answer(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    assert ABLE.fallbacks == ("small",)
    generator.full = ("large",)
    response = await client.post("/v1/audio/generations", json=GENERATION | {"model": "large"})
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert [request.model for request in generator.requests] == ["large"]


async def test_the_model_list_names_each_models_decoders(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()["data"]
    decoders = {model["id"]: model["capabilities"]["decoders"] for model in models}
    assert decoders == {"small": [ENCODEC], "large": [ENCODEC, MULTIBAND_DIFFUSION]}


async def test_a_job_is_checked_when_it_is_accepted(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    response = await jobs_client.post("/v1/jobs", json=GENERATION)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "decoder_unavailable")
    assert "none of the models served here (small, tiny, large) is configured" in problem["detail"]
    response = await jobs_client.post("/v1/jobs", json=GENERATION | {"decoder": ENCODEC})
    assert response.status_code == 202
    assert response.json()["request"]["decoder"] == ENCODEC
    assert (await room.claim()).job.request.decoder == ENCODEC


async def test_replicates_clients_get_it_or_are_refused(jobs_client: httpx.AsyncClient) -> None:
    body = {"input": {"prompt": "a", "multi_band_diffusion": True}}
    response = await jobs_client.post("/v1/models/meta/musicgen/predictions", json=body)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(
        "input.multi_band_diffusion: Decoder 'multiband_diffusion' is not available"
    )
