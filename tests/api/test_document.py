"""The OpenAPI document: its key scheme, on guarded operations alone, and the tables of the page."""

from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.audio.file_format import FORMATS
from serve_app.config.api import ApiConfig
from serve_app.types import SamplingParams
from tests.fakes import LARGE, SMALL, FakeGenerator


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    content: dict[str, Any] = (await client.get("/openapi.json")).json()
    return content


def test_the_scheme_is_a_bearer_token(document: dict[str, Any]) -> None:
    [scheme] = document["components"]["securitySchemes"].values()
    assert scheme["type"] == "http"
    assert scheme["scheme"] == "bearer"


def test_the_tables_of_the_page_are_those_of_the_service(document: dict[str, Any]) -> None:
    assert document["x-sampling-parameters"] == list(SamplingParams.model_fields)
    assert document["x-file-extensions"] == {name: spec.suffix for name, spec in FORMATS.items()}


async def test_it_is_on_the_operations_that_answer_401_without_a_key(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "a:key-0123456789abcdef")
    api = create_api(FakeGenerator(), FakeGenerator(), [SMALL, LARGE], "small", ApiConfig())
    guarded: set[tuple[str, str]] = set()
    named: set[tuple[str, str]] = set()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://test"
    ) as client:
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if operation.get("security") == [{"apiKey": []}]:
                    named.add((method, path))
                response = await client.request(method, path.replace("{model_id}", "small"))
                if response.status_code == 401:
                    guarded.add((method, path))
    assert named == guarded
    assert ("get", "/health") not in named
    assert ("post", "/v1/audio/generations") in named


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/static/docs.js",
        "/static/swagger/swagger-ui-bundle.js",
        "/static/swagger/swagger-ui.css",
    ],
)
async def test_the_documentation_loads_without_a_key(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "a:key-0123456789abcdef")
    api = create_api(FakeGenerator(), FakeGenerator(), [SMALL, LARGE], "small", ApiConfig())
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get(path)).status_code == 200
