"""Hundreds of requests made up from the served OpenAPI: none breaks the API, and every answer is as documented."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve_app.api.app import create_api
from serve_app.config import ApiConfig
from tests.api.conftest import LARGE, SMALL, FakeGenerator

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
API = create_api(FakeGenerator(), [SMALL, LARGE], "small", ApiConfig())
UPLOADS = ["/v1/audio/generations", "/v1/audio/conversions"]
SERVED = schemathesis.openapi.from_asgi("/openapi.json", API)
# schemathesis cannot make bad forms out of good files: what is wrong with uploads is tested beside `body_reader`.
TAKING_FILES = schemathesis.openapi.from_asgi("/openapi.json", API)
TAKING_FILES.config.generation.update(modes=[GenerationMode.POSITIVE])
THOROUGHLY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@SERVED.exclude(path=UPLOADS).parametrize()
@THOROUGHLY
def test_any_request_gets_a_documented_answer(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)


@TAKING_FILES.include(path=UPLOADS).parametrize()
@THOROUGHLY
def test_any_upload_gets_a_documented_answer(case: Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)
