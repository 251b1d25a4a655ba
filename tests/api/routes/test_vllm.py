"""vLLM-Omni's `POST /v1/audio/generate` over the fake generator."""

import io

import httpx
import pytest
import soundfile

from tests.fakes import SAMPLE_RATE, FakeGenerator

PATH = "/v1/audio/generate"


async def test_every_field_of_its_documentation(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    body = {
        "input": "thunder and rain",
        "model": "small",
        "response_format": "wav",
        "speed": 1.0,
        "audio_length": 1.5,
        "audio_start": 0.0,
        "negative_prompt": "",
        "guidance_scale": 7.0,
        "num_inference_steps": 100,
        "seed": 42,
    }
    response = await client.post(PATH, json=body)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
    assert response.headers["x-musicgen-ignored"] == "num_inference_steps"
    assert response.headers["x-musicgen-seed"] == "42"
    samples, _ = soundfile.read(io.BytesIO(response.content))
    assert len(samples) == 1.5 * SAMPLE_RATE
    [request] = generator.requests
    assert (request.prompt, request.duration_s) == ("thunder and rain", 1.5)
    assert (request.sampling.cfg_coef, request.sampling.seed) == (7.0, 42)


async def test_defaults_and_nulls(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    body = dict.fromkeys(("model", "audio_length", "negative_prompt", "seed", "guidance_scale"))
    response = await client.post(PATH, json={"input": "a", **body, "response_format": "pcm"})
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/pcm")
    assert "x-musicgen-ignored" not in response.headers
    assert (generator.requests[0].duration_s, generator.requests[0].sampling.cfg_coef) == (30, 3)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("speed", 0.5, "0.5 is not supported, only 1"),
        ("audio_start", 2.0, "2 is not supported, only 0"),
        ("negative_prompt", "low quality", "takes no negative prompt"),
        ("num_inference_steps", 0, "greater than or equal to 1"),
        ("response_format", "aac", "aac is not available"),
        ("audio_length", 0, "greater than 0"),
        ("duration_s", 2, "not permitted"),
        ("input", "", "cannot be empty"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, generator: FakeGenerator, field: str, value: object, said: str
) -> None:
    response = await client.post(PATH, json={"input": "a", field: value})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, field)
    assert said in error["message"]
    assert generator.requests == []
