"""The shape of Hugging Face's Inference API."""

import asyncio
import io
import json
from typing import Any

import httpx
import pytest
import soundfile
from pydantic import ValidationError

from serve_app.api.app import create_api
from serve_app.api.schemas.huggingface import Parameters
from serve_app.api.schemas.neutral_parameters import NeutralParameters
from serve_app.config.api import ApiConfig
from serve_app.errors import GenerationFailed
from serve_app.gateway import cold_starts, readiness
from serve_app.types import SamplingParams
from tests.api.schemas.documented import SAMPLING, documented
from tests.conftest import CONFIGS
from tests.fakes import LARGE, SAMPLE_RATE, SMALL, Clock, FakeGenerator, Unexpected, leaks
from tests.jobs.rooms import client_of

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
    await client.post(LOADING, json=body)
    assert generator.requests[0].duration_s == 1.5


LOADING = "/models/facebook/musicgen-large"
AT_ONCE = {"wait_for_model": False}


async def test_a_request_waits_while_the_model_loads(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's frame rate is known by then."""
    monkeypatch.setattr(readiness, "_POLL_S", 0.01)
    config = ApiConfig(model_wait_s=60.0)
    api = create_api(generator, generator, [SMALL, LARGE], "small", config)
    body = {"inputs": "a", "parameters": {"max_new_tokens": 75}}
    async with client_of(api) as client:
        call = asyncio.create_task(client.post(LOADING, json=body))
        while not generator.woken:  # noqa: ASYNC110 - the fake sets no event
            await asyncio.sleep(0)
        assert not call.done()
        generator.step_s["large"] = 0.01
        assert (await call).status_code == 200
    assert generator.requests[0].duration_s == 1.5
    assert set(generator.woken) == {"large"}


async def test_a_model_that_loads_too_long_is_503(
    client: httpx.AsyncClient,
    generator: FakeGenerator,
    config: ApiConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert config.model_wait_s == 0.05
    monkeypatch.setattr(cold_starts, "monotonic", Clock())
    response = await client.post(LOADING, json={"inputs": "a"})
    assert response.status_code == 503
    assert response.json() == {
        "error": "Model facebook/musicgen-large is currently loading",
        "estimated_time": 20.0,
    }
    assert response.headers["retry-after"] == "20"
    assert set(generator.woken) == {"large"}


@pytest.mark.parametrize(
    ("options", "headers", "status", "woken"),
    [
        ({"wait_for_model": False}, {}, 503, True),
        ({"dont_load_model": True}, {}, 503, False),
        ({}, {"x-load-model": "0"}, 503, False),
        ({}, {"x-wait-for-model": "true"}, 200, False),
        ({"wait_for_model": True}, {}, 200, False),
        ({"wait_for_model": None}, {"x-wait-for-model": "1"}, 200, False),
    ],
)
async def test_options_say_whether_to_wait(
    client: httpx.AsyncClient,
    generator: FakeGenerator,
    options: dict[str, Any],
    headers: dict[str, str],
    status: int,
    woken: bool,
) -> None:
    """A caller that waits without a limit waits in the model's own queue, which starts a replica."""
    body = {"inputs": "a", "parameters": {"duration": 1}, "options": options}
    response = await client.post(LOADING, json=body, headers=headers)
    assert response.status_code == status
    assert bool(generator.woken) is woken


async def test_a_bad_request_does_not_wait(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    assert (await client.post(LOADING, json={"inputs": " "})).status_code == 400
    assert generator.woken == []


WITHOUT_EFFECT: dict[str, Any] = {
    "use_cache": False, "early_stopping": "never", "length_penalty": 2.0, "num_beams": 1,
    "num_beam_groups": 1, "num_return_sequences": 1, "penalty_alpha": 0.0, "typical_p": 1,
    "epsilon_cutoff": 0, "eta_cutoff": 0.0, "repetition_penalty": 1.0, "diversity_penalty": 0.0,
    "no_repeat_ngram_size": 0, "min_new_tokens": 75, "min_length": 76, "top_k": None,
    "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0.0, "min_p": 0,
    "renormalize_logits": False, "remove_invalid_values": False, "token_healing": False,
    "low_memory": False, "disable_compile": True, "return_dict_in_generate": False,
    "output_scores": False, "output_logits": False, "output_attentions": False,
    "output_hidden_states": False,
}  # fmt: skip


NEUTRAL = sorted(
    name for name, field in NeutralParameters.model_fields.items() if field.json_schema_extra
)


@pytest.mark.parametrize("nest", ["generation_parameters", "generate_kwargs", "forward_params"])
async def test_nested_parameters_are_used_and_others_accepted(
    client: httpx.AsyncClient, generator: FakeGenerator, nest: str
) -> None:
    used = {"max_new_tokens": 75, "temperature": 0.7, "guidance_scale": 4}
    body = {
        "inputs": "a",
        "parameters": {nest: used | WITHOUT_EFFECT, "seed": 3},
        "options": {"use_gpu": True, "use_cache": True, "retry_on_error": False},
        "stream": False,
    }
    response = await client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    [request] = generator.requests
    assert request.duration_s == 1.5
    assert request.sampling == SamplingParams(temperature=0.7, cfg_coef=4, seed=3)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
async def test_a_parameter_without_effect_leaves_the_request_as_it_is(
    client: httpx.AsyncClient, generator: FakeGenerator, name: str
) -> None:
    parameters = {"max_new_tokens": 75, "seed": 3}
    for more in ({}, {name: WITHOUT_EFFECT[name]}):
        body = {"inputs": "a", "parameters": parameters | more}
        assert (await client.post(PATH, json=body)).status_code == 200
    first, second = (request.model_dump(exclude={"request_id"}) for request in generator.requests)
    assert first == second


def test_every_neutral_parameter_is_tried_and_documented() -> None:
    declared = NeutralParameters.model_fields
    assert declared.keys() <= WITHOUT_EFFECT.keys()
    documentation = (CONFIGS.parent / "docs/clients/huggingface.md").read_text()
    for name, field in declared.items():
        extra = field.json_schema_extra
        neutral = f": {json.dumps(extra['const'])}" if isinstance(extra, dict) else ""
        assert f"`{name}{neutral}`" in documentation


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("value", [7, -0.5, "x", [1]])
async def test_another_value_than_the_neutral_one_is_refused_by_name(
    client: httpx.AsyncClient, name: str, value: object
) -> None:
    body = {"inputs": "a", "parameters": {name: value}}
    response = await client.post(PATH, json=body)
    assert response.status_code == 400
    shown = json.dumps(value)
    neutral = json.dumps(NeutralParameters.model_fields[name].default)
    assert response.json() == {
        "error": f"parameters.{name}: {shown} is not supported, only {neutral}"
    }


async def test_flac_that_is_not_accepted_is_not_sent(client: httpx.AsyncClient) -> None:
    body = {"inputs": "a", "parameters": {"duration": 1}}
    headers = {"accept": "audio/flac;q=0, audio/wav"}
    response = await client.post(PATH, json=body, headers=headers)
    assert response.headers["content-type"] == "audio/wav"


async def test_nulls_are_as_if_absent(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    body: dict[str, Any] = {"inputs": "a", "parameters": None, "options": None}
    assert (await client.post(PATH, json=body)).status_code == 200
    nulls: dict[str, Any] = {
        "max_new_tokens": None,
        "temperature": None,
        "seed": None,
        "generate_kwargs": None,
    }
    body = {"inputs": "a", "parameters": nulls, "options": {"use_cache": None}}
    assert (await client.post(PATH, json=body)).status_code == 200
    assert [request.duration_s for request in generator.requests] == [30.0, 30.0]


@pytest.mark.parametrize(
    ("parameters", "duration_s"),
    [
        ({"max_length": 76}, 1.5),
        ({"max_length": 500, "max_new_tokens": 75}, 1.5),
        ({"max_length": 500, "max_new_tokens": 75, "duration": 2}, 2.0),
    ],
)
def test_durations(parameters: dict[str, Any], duration_s: float) -> None:
    assert Parameters.model_validate(parameters).duration_s(None) == duration_s


BAD: list[tuple[Any, int, str]] = [
    ({}, 400, "inputs: Field required"),
    ({"inputs": " "}, 400, "Prompt is required"),
    ({"inputs": 5}, 400, "inputs: "),
    (
        {"inputs": "a", "parameters": {"num_beams": 4}},
        400,
        "parameters.num_beams: 4 is not supported, only 1",
    ),
    (
        {"inputs": "a", "parameters": {"bad_words_ids": [[1]]}},
        400,
        "parameters.bad_words_ids: is not supported",
    ),
    (
        {"inputs": "a", "parameters": {"generate_kwargs": 3}},
        400,
        "parameters.generate_kwargs: must be a JSON object",
    ),
    (
        {"inputs": "a", "parameters": {"generation_parameters": {"typical_p": 0.9}}},
        400,
        "parameters.typical_p: ",
    ),
    (
        {"inputs": "a", "parameters": {"top_k": 5, "generate_kwargs": {"top_k": 6}}},
        400,
        "top_k is given twice, as 5 and as 6",
    ),
    (
        {"inputs": "a", "parameters": {"max_new_tokens": 50, "min_new_tokens": 51}},
        400,
        "parameters.min_new_tokens: 51 exceeds the track's 50 frames",
    ),
    (
        {"inputs": "a", "parameters": {"max_new_tokens": 50, "min_length": 52}},
        400,
        "parameters.min_length: 52 exceeds the track's 50 frames",
    ),
    ({"inputs": "a", "options": {"use_magic": True}}, 400, "options.use_magic: "),
    ({"inputs": "a", "options": 3}, 400, "options: "),
    ({"inputs": "a", "parameters": 3}, 400, "parameters: must be a JSON object"),
    ({"inputs": "a", "stream": True}, 400, "stream: "),
    ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, 400, "parameters.max_new_tokens: "),
    ({"inputs": "a", "parameters": {"temperature": "x"}}, 400, "parameters.temperature: "),
    ([], 400, "The request's body must be a JSON object"),
    ("a", 400, "The request's body must be a JSON object"),
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


async def test_a_client_without_a_model_in_its_url_gets_the_default_one(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    """Hugging Face's clients post to `/` if `base_url` is the service's address alone."""
    body = {"inputs": "lofi beat", "parameters": {"max_new_tokens": 50}}
    response = await client.post("/", json=body)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
    assert (generator.requests[0].model, generator.requests[0].duration_s) == ("small", 1.0)
    refused = await client.post("/", json=body | {"parameters": {"num_beams": 4}})
    assert "parameters.num_beams" in refused.json()["error"]
    both = await client.post("/", json={"inputs": "a", "prompt": " "})
    assert both.json() == {"detail": "Prompt is required and cannot be empty"}


async def test_fields_without_effect_are_named(client: httpx.AsyncClient) -> None:
    parameters = {"max_new_tokens": 50, "generation_parameters": {"use_cache": False}}
    more = {"early_stopping": "never", "num_beams": 1, "length_penalty": None}
    options = {"use_gpu": True, "wait_for_model": True}
    body = {"inputs": "a", "parameters": parameters | more, "options": options}
    response = await client.post(PATH, json=body)
    named = "options.use_gpu, parameters.early_stopping, parameters.use_cache"
    assert response.headers["x-musicgen-ignored"] == named
    plain = await client.post(PATH, json={"inputs": "a", "parameters": {"duration": 1}})
    assert "x-musicgen-ignored" not in plain.headers


@pytest.mark.parametrize(
    ("parameters", "ignored"),
    [
        ({"duration": 1, "max_new_tokens": 75}, "parameters.max_new_tokens"),
        ({"duration": 1, "max_length": 75}, "parameters.max_length"),
        ({"max_new_tokens": 50, "max_length": 75}, "parameters.max_length"),
        ({"duration": 1, "generate_kwargs": {"max_length": 9}}, "parameters.max_length"),
        ({"duration": 1, "do_sample": False, "temperature": 0.5}, "parameters.temperature"),
        (
            {"duration": 1, "do_sample": False, "top_k": 5, "top_p": 0.5},
            "parameters.top_k, parameters.top_p",
        ),
        ({"duration": 1, "do_sample": True, "temperature": 0.5}, None),
        ({"duration": 1, "max_length": None}, None),
    ],
)
async def test_parameters_that_others_replace_are_named(
    client: httpx.AsyncClient,
    generator: FakeGenerator,
    parameters: dict[str, Any],
    ignored: str | None,
) -> None:
    response = await client.post(PATH, json={"inputs": "a", "parameters": parameters})
    assert (response.status_code, response.headers.get("x-musicgen-ignored")) == (200, ignored)
    [request] = generator.requests
    assert request.duration_s == 1.0
    is_greedy = parameters.get("do_sample") is False
    assert (request.sampling.temperature == 0.0) is is_greedy


async def test_an_empty_input_is_named(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"inputs": " "})
    assert response.status_code == 400
    assert response.json() == {"error": "inputs: Prompt is required and cannot be empty"}
