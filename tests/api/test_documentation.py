"""docs/api.md lists what the API's own document (OpenAPI) has."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import serve_app
from tests.markdown import rows, section

API = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text()


@pytest.fixture
async def openapi(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


@pytest.fixture
def generation(openapi: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = openapi["paths"]["/v1/audio/generations"]["post"]
    return operation


@pytest.fixture
def fields(generation: dict[str, Any]) -> dict[str, Any]:
    content = generation["requestBody"]["content"]["application/json"]
    properties: dict[str, Any] = content["schema"]["properties"]
    return properties


def as_value(cell: str) -> object:
    """`false` -> False, 3.0 -> 3.0, `wav` -> "wav"."""
    return yaml.safe_load(cell.strip("`"))


def test_every_field_is_documented(fields: dict[str, Any]) -> None:
    assert len(fields) > 15
    assert set(rows(section(API, "Fields"))) == set(fields)


def test_defaults_of_fields_are_as_documented(fields: dict[str, Any]) -> None:
    """A default that is a plain value stands in the table as it is."""
    table = rows(section(API, "Fields"))
    defaults = {
        name: schema["default"]
        for name, schema in fields.items()
        if isinstance(schema.get("default"), bool | int | float | str) and schema["default"] != ""
    }
    assert len(defaults) > 10
    assert {name: as_value(table[name][0]) for name in defaults} == defaults


def test_every_response_header_is_documented(generation: dict[str, Any]) -> None:
    documented = set(rows(section(API, "Response headers")))
    assert documented == {*generation["responses"]["200"]["headers"], "x-request-id"}


def test_every_format_is_documented_with_its_media_type(
    generation: dict[str, Any], fields: dict[str, Any]
) -> None:
    table = rows(section(API, "Formats"))
    assert set(table) == set(fields["response_format"]["enum"]) - {"json"}
    answers = set(generation["responses"]["200"]["content"])
    files = answers - {"application/json", "text/event-stream"}
    assert {cells[0].strip("`") for cells in table.values()} == files


def test_every_route_is_documented(openapi: dict[str, Any]) -> None:
    for path, operations in openapi["paths"].items():
        for method in operations:
            assert f"`{method.upper()} {path}`" in API, (method, path)


def test_the_documents_version_is_the_packages(openapi: dict[str, Any]) -> None:
    assert openapi["info"]["version"] == serve_app.__version__
