"""Unexpected errors: answered with the headers of every answer, and without details."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from serve_app.api.app import create_api
from serve_app.api.middleware.unexpected_errors import UnexpectedErrors
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, FakeGenerator, Unexpected, leaks

ORIGIN = {"origin": "http://localhost:5173"}


@pytest.fixture
def broken(generator: FakeGenerator) -> FastAPI:
    """The API with a route that fails in no expected way."""
    app = create_api(generator, generator, [SMALL], None, ApiConfig(max_header_bytes=1000))

    @app.get("/broken")
    async def fail() -> None:
        raise Unexpected

    return app


async def test_a_failure_is_a_problem_with_all_headers(broken: FastAPI) -> None:
    transport = httpx.ASGITransport(broken)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/broken", headers=ORIGIN)
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert not leaks(response.text)
    assert response.headers["access-control-allow-origin"] == ORIGIN["origin"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/audio/streams/none", {}, 404),
        ("DELETE", "/v1/models", {}, 405),
        ("GET", "/health", {"x-request-timeout-seconds": "soon"}, 400),
        ("GET", "/health", {"x-long": "a" * 2000}, 431),
        ("POST", "/generate", {"content-length": "99999999"}, 413),
        ("POST", "/generate", {"content-encoding": "br"}, 415),
        ("POST", "/v1/audio/generations", {}, 400),
        ("GET", "/static/nothing.js", {}, 404),
    ],
)
async def test_every_refusal_has_them_too(
    broken: FastAPI, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(broken), base_url="http://test"
    ) as client:
        response = await client.request(method, path, headers=headers | ORIGIN)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == ORIGIN["origin"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"


async def test_a_failure_after_the_beginning_ends_the_answer() -> None:
    sent: list[str] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Unexpected

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message["type"])

    with pytest.raises(Unexpected):
        await UnexpectedErrors(app)({"type": "http"}, receive, send)
    assert sent == ["http.response.start"]
