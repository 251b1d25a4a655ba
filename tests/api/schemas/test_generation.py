"""Requests for tracks: options that go together, and the tables that the fields derive from."""

from typing import Any

import httpx
import pytest

from serve_app.api.schemas.generation import (
    OF_JOBS,
    Generation,
    GenerationBody,
    GenerationForm,
    StreamQuery,
)
from serve_app.api.schemas.jobs import JobBody
from serve_app.audio.file_format import FORMATS, MP3, WAV
from serve_app.audio.file_options import FileOptions
from tests.api.schemas.documented import SAMPLING, documented
from tests.fakes import FakeGenerator

PATH = "/v1/audio/generations"


@pytest.mark.parametrize(
    "name", sorted(set(JobBody.model_fields) - set(GenerationBody.model_fields))
)
async def test_fields_of_jobs_name_their_route(
    client: httpx.AsyncClient, generator: FakeGenerator, name: str
) -> None:
    response = await client.post(PATH, json={"prompt": "a", name: 1})
    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert error == {"field": name, "message": "is a field of jobs: send the request to /v1/jobs"}
    assert not generator.requests
    assert name in OF_JOBS


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"n": 2}, "n: above 1 it needs response_format 'json'"),
        ({"n": 9, "response_format": "json"}, "n: Input should be less than or equal to 8"),
        ({"stream": True, "response_format": "json"}, "response_format: 'json' cannot be streamed"),
        ({"audio_format": "mp3"}, "audio_format: needs response_format 'json'"),
        ({"max_wait_s": 0}, "max_wait_s: Input should be greater than 0"),
        (
            {"n": 2, "seed": 2**63 - 1, "response_format": "json"},
            "seed: must be at most 9223372036854775806",
        ),
        ({"extend_stride_s": 0.5}, "extend_stride_s: Input should be greater than or equal to 1"),
    ],
)
async def test_options_that_do_not_fit_are_refused(
    client: httpx.AsyncClient, generator: FakeGenerator, body: dict[str, Any], detail: str
) -> None:
    response = await client.post(PATH, json={"prompt": "a"} | body)
    assert response.status_code == 400
    assert detail in response.json()["detail"]
    assert generator.requests == []


@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize("schema", [GenerationBody, GenerationForm, StreamQuery])
def test_every_sampling_parameter_is_a_field_with_its_bounds(
    schema: type[Generation], name: str
) -> None:
    properties = schema.model_json_schema()["properties"]
    assert documented(properties[name]) == documented(SAMPLING[name])
    assert SAMPLING[name]["description"]


@pytest.mark.parametrize("name", SAMPLING)
async def test_every_sampling_parameter_is_documented_by_the_service(
    client: httpx.AsyncClient, name: str
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    bodies = paths[PATH]["post"]["requestBody"]["content"]
    for body in bodies.values():
        assert documented(body["schema"]["properties"][name]) == documented(SAMPLING[name])
    [parameter] = [
        one for one in paths["/v1/audio/stream"]["get"]["parameters"] if one["name"] == name
    ]
    expected = documented(SAMPLING[name])
    assert documented(parameter["schema"] | {"description": parameter["description"]}) == expected


def test_a_seed_is_drawn_once() -> None:
    body = GenerationBody(prompt="a")
    assert body.sampling().seed == body.sampling().seed == body.seed
    assert GenerationBody(prompt="a").seed != body.seed
    assert GenerationBody.model_validate({"prompt": "a", "seed": None}).seed != body.seed
    assert GenerationBody.model_validate({"prompt": "a", "seed": 7}).sampling().seed == 7


@pytest.mark.parametrize("schema", [GenerationBody, StreamQuery])
def test_a_seed_is_documented_as_a_whole_number_or_null(schema: type[Generation]) -> None:
    seed = schema.model_json_schema()["properties"]["seed"]
    assert seed["anyOf"] == [
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        {"type": "null"},
    ]
    assert "default" not in seed


def test_formats_are_those_of_the_table() -> None:
    def choices(schema: type[FileOptions]) -> list[str]:
        found: list[str] = schema.model_json_schema()["properties"]["response_format"]["enum"]
        return found

    assert choices(GenerationBody) == [*FORMATS, "json"]
    assert choices(StreamQuery) == [name for name, spec in FORMATS.items() if spec.streamable]


def test_json_has_files_of_its_audio_format() -> None:
    body = GenerationBody(prompt="a", response_format="json")
    assert body.file_format is WAV
    assert body.model_copy(update={"audio_format": "mp3"}).encoding().file_format is MP3
