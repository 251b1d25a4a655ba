"""The shape of Hugging Face's Inference API."""

import io
from typing import Any

import httpx
import pytest
import soundfile
from pydantic import ValidationError

from serve_app.api.schemas.huggingface import Parameters
from serve_app.errors import GenerationFailed
from serve_app.types import SamplingParams
from tests.api.schemas.documented import SAMPLING, documented
from tests.fakes import SAMPLE_RATE, FakeGenerator, Unexpected, leaks

PATH = "/models/facebook/musicgen-small"


async def test_answers_with_the_file(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    parameters = {
        "max_new_tokens": 75,
        "temperature": 0.7,
        "guidance_scale": 4,
        "top_k": 5,
        "seed": 3,
    }
    response = await client.post(PATH, json={"inputs": "lofi beat", "parameters": parameters})
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
    samples, _ = soundfile.read(io.BytesIO(response.content))
    assert len(samples) == 1.5 * SAMPLE_RATE
    [request] = generator.requests
    assert (request.model, request.prompt) == ("small", "lofi beat")
    assert (request.sampling.temperature, request.sampling.cfg_coef, request.sampling.top_k) == (
        0.7,
        4.0,
        5,
    )


async def test_flac_on_request(client: httpx.AsyncClient) -> None:
    response = await client.post(
        PATH, json={"inputs": "a", "parameters": {"duration": 1}}, headers={"accept": "audio/flac"}
    )
    assert response.headers["content-type"] == "audio/flac"
    assert response.content[:4] == b"fLaC"


async def test_defaults(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    await client.post(PATH, json={"inputs": "a"})
    await client.post(PATH, json={"inputs": "a", "parameters": {"do_sample": False, "duration": 1}})
    assert generator.requests[0].duration_s == 30
    assert generator.requests[1].sampling.temperature == 0


@pytest.mark.parametrize(
    ("repository", "model"),
    [
        ("facebook/musicgen-small", "small"),
        ("facebook/musicgen-large", "large"),
        ("me/tiny", "small"),
        ("x/small", "small"),
    ],
)
async def test_repositories_are_routed(
    client: httpx.AsyncClient, generator: FakeGenerator, repository: str, model: str
) -> None:
    options = {"wait_for_model": True}
    body = {"inputs": "a", "parameters": {"duration": 1}, "options": options}
    assert (await client.post(f"/models/{repository}", json=body)).status_code == 200
    assert generator.requests[0].model == model


async def test_waiting_for_a_model_forgets_nothing(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = {
        "inputs": "a",
        "parameters": {"max_new_tokens": 75},
        "options": {"wait_for_model": True},
    }
    await client.post("/models/facebook/musicgen-large", json=body)
    assert generator.requests[0].duration_s == 1.5


async def test_a_model_that_is_loading_is_woken(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    response = await client.post("/models/facebook/musicgen-large", json={"inputs": "a"})
    assert response.status_code == 503
    assert response.json() == {
        "error": "Model facebook/musicgen-large is currently loading",
        "estimated_time": 20.0,
    }
    assert response.headers["retry-after"] == "20"
    assert generator.woken == ["large"]


BAD: list[tuple[Any, int, str]] = [
    ({}, 400, "inputs: Field required"),
    ({"inputs": " "}, 400, "Prompt is required"),
    ({"inputs": 5}, 400, "inputs: "),
    (
        {"inputs": "a", "parameters": {"num_beams": 4}},
        400,
        "parameters.num_beams: Extra inputs are not permitted",
    ),
    ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, 400, "parameters.max_new_tokens: "),
    ({"inputs": "a", "parameters": {"temperature": "x"}}, 400, "parameters.temperature: "),
    ([], 400, "valid dictionary"),
]


@pytest.mark.parametrize(("body", "status", "said"), BAD, ids=str)
async def test_bad_requests(client: httpx.AsyncClient, body: Any, status: int, said: str) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert said in response.json()["error"]


async def test_unknown_repository(client: httpx.AsyncClient) -> None:
    response = await client.post("/models/facebook/bark", json={"inputs": "a"})
    assert response.status_code == 404
    assert "Served models: small, tiny, large" in response.json()["error"]


@pytest.mark.parametrize("error", [GenerationFailed("no luck"), Unexpected()])
async def test_failures(
    client: httpx.AsyncClient, generator: FakeGenerator, error: Exception
) -> None:
    generator.error = error
    response = await client.post(PATH, json={"inputs": "a"})
    assert response.status_code == 500
    assert list(response.json()) == ["error"]
    assert not leaks(response.text)


@pytest.mark.parametrize("name", SAMPLING)
def test_every_sampling_parameter_has_a_name_of_hugging_faces(name: str) -> None:
    properties = Parameters.model_json_schema()["properties"]
    alias = {"cfg_coef": "guidance_scale"}.get(name, name)
    assert documented(properties[alias]) == documented(SAMPLING[name])


def test_parameters_become_the_sampling() -> None:
    parameters = {"guidance_scale": 4.0, "top_p": 1.0, "do_sample": False, "seed": 3}
    sampling = Parameters.model_validate(parameters).sampling()
    assert sampling == SamplingParams(temperature=0.0, top_p=0.0, cfg_coef=4.0, seed=3)
    with pytest.raises(ValidationError, match="cfg_coef"):
        Parameters.model_validate({"cfg_coef": 4.0})
