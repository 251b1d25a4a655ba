"""OpenAPI documents every route, field and header; requests made up from it are answered so."""

import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import BaseModel
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve_app.api.app import create_api
from serve_app.api.middleware.deadline import HEADER, MAX_TIMEOUT_S
from serve_app.api.openapi import TIMEOUT
from serve_app.api.schemas.conversion import Conversion
from serve_app.api.schemas.elevenlabs import DetailedMusic, Sound
from serve_app.api.schemas.elevenlabs_plan import CompositionPlan, Section, SongMetadata
from serve_app.api.schemas.generation import GenerationBody, StreamQuery
from serve_app.api.schemas.huggingface import Options, Parameters
from serve_app.api.schemas.models import Model
from serve_app.api.schemas.openai import Speech
from serve_app.api.schemas.problem import ElevenLabsDetail, ErrorObject
from serve_app.api.schemas.tracks import Variation, Variations
from serve_app.api.schemas.vllm import AudioGeneration
from serve_app.audio.file_format import FORMATS
from serve_app.config.api import ApiConfig
from serve_app.errors import DeadlineExceeded
from serve_app.track_fields import HEADERS
from tests.fakes import LARGE, SMALL, FakeGenerator


def no_server_error(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """Check for server errors but a passed deadline, which a request may ask for."""
    if response.status_code == DeadlineExceeded.status:
        return None
    return not_a_server_error(context, response, case)


CHECKS = [
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
GENERATOR = FakeGenerator()
API = create_api(GENERATOR, GENERATOR, [SMALL, LARGE], "small", ApiConfig())
PATH = "/v1/audio/generations"
UPLOADS = [PATH, "/v1/audio/conversions", "/v1/audio/provenance"]
DIALECTS = [
    "/v1/audio/speech", "/v1/audio/generate", "/v1/music", "/v1/music/stream", "/v1/music/detailed",
    "/v1/sound-generation",
]  # fmt: skip
SERVED = schemathesis.openapi.from_asgi("/openapi.json", API)
# schemathesis cannot make bad forms out of good files: test_body_reader tests bad uploads.
TAKING_FILES = schemathesis.openapi.from_asgi("/openapi.json", API)
TAKING_FILES.config.generation.update(modes=[GenerationMode.POSITIVE])
THOROUGHLY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@SERVED.include(path=DIALECTS).parametrize()
@settings(THOROUGHLY, max_examples=15)
def test_any_request_of_other_clients_gets_a_documented_answer(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)


@pytest.mark.long
@SERVED.include(path=DIALECTS).parametrize()
@THOROUGHLY
def test_more_requests_of_other_clients_get_documented_answers(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)


@SERVED.exclude(path=UPLOADS + DIALECTS).parametrize()
@THOROUGHLY
def test_any_request_gets_a_documented_answer(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)


@TAKING_FILES.include(path=UPLOADS).parametrize()
@THOROUGHLY
def test_any_upload_gets_a_documented_answer(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)


async def test_documentation_names_every_route_and_field(client: httpx.AsyncClient) -> None:
    assert (await client.get("/docs")).status_code == 200
    schema = (await client.get("/openapi.json")).json()
    routes = {
        PATH,
        "/v1/audio/stream",
        "/v1/audio/streams/{stream_id}",
        "/v1/audio/conversions",
        "/v1/audio/provenance",
        "/v1/audio/speech",
        "/v1/audio/generate",
        "/v1/music",
        "/v1/music/stream",
        "/v1/music/detailed",
        "/v1/sound-generation",
        "/v1/models",
        "/v1/models/{model_id}",
        "/",
        "/generate",
        "/health",
        "/health/live",
        "/stats",
        "/models/{owner}/{name}",
    }
    assert set(schema["paths"]) == routes
    generation = schema["paths"][PATH]["post"]["responses"]
    assert set(generation) >= {"200", "400", "404", "413", "429", "500", "503"}
    files = {spec.media_type for spec in FORMATS.values()}
    assert set(generation["200"]["content"]) == files | {"application/json", "text/event-stream"}
    headers = generation["200"]["headers"]
    assert {name: header["description"] for name, header in headers.items()} == HEADERS


@pytest.mark.parametrize(
    "model",
    [
        GenerationBody,
        StreamQuery,
        Conversion,
        Parameters,
        Options,
        Model,
        Variation,
        Variations,
        Speech,
        AudioGeneration,
        DetailedMusic,
        Sound,
        CompositionPlan,
        Section,
        SongMetadata,
        ErrorObject,
        ElevenLabsDetail,
    ],
)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    schema = model.model_json_schema(mode="serialization")
    fields = {name: field for name, field in schema["properties"].items() if "const" not in field}
    undescribed = [name for name, field in fields.items() if not field.get("description")]
    assert [name for name in undescribed if fields[name].get("type") != "array"] == []


async def test_openapi_knows_both_bodies(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"][PATH]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert content["application/json"]["schema"]["properties"]["n"]["maximum"] == 8
    assert (
        content["multipart/form-data"]["schema"]["properties"]["audio_prompt"]["format"] == "binary"
    )
    assert "Variations" in json.dumps(operation["responses"]["200"]["content"]["application/json"])


def test_a_deadline_is_documented_as_it_is_checked() -> None:
    assert TIMEOUT["name"] == HEADER
    assert TIMEOUT["schema"] == {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S}
