"""Errors as problem details."""

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from serve_app.api.allowed_methods import AllowedMethods
from serve_app.api.error_handlers import add_error_handlers
from serve_app.errors import GenerationFailed, QueueFull
from tests.fakes import FakeGenerator, Unexpected, leaks

PATH = "/v1/audio/generations"


async def test_failures_are_problems(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    generator.error = GenerationFailed("the output is not finite")
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 1})
    assert response.status_code == 500
    assert response.json() == {
        "type": "about:blank",
        "title": GenerationFailed.title,
        "status": 500,
        "detail": "the output is not finite",
        "code": "generation_failed",
        "error": {
            "message": "the output is not finite",
            "type": "server_error",
            "param": None,
            "code": "generation_failed",
        },
    }
    assert generator.closed == 1


async def test_a_full_queue_says_when_to_come_back(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.error = QueueFull("Too many wait.", retry_after_s=12.2)
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 1})
    assert (response.status_code, response.headers["retry-after"]) == (429, "13")


async def test_unexpected_failures_leak_nothing(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    generator.error = Unexpected()
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 1})
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert not leaks(response.text)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", PATH, 405)]
)
async def test_unknown_routes_are_problems(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["code"]) == (status, f"http_{status}")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/config"), ("POST", "/fal-ai/musicgen"), ("PUT", "/predictions/x"), ("POST", "/v1/videos")],
    ids=["gradio", "fal", "cog", "openai"],
)  # fmt: skip
async def test_clients_of_routes_that_are_not_there_are_told_so(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = (await client.request(method, path)).json()
    assert answer["detail"] == f"{method} {path} is not served here: GET /docs shows what is"
    assert answer["error"]["message"] == answer["detail"]


async def test_any_bad_request_is_an_invalid_request() -> None:
    """The framework's own too."""
    app = FastAPI()
    add_error_handlers(app, AllowedMethods())

    @app.get("/")
    async def refuse() -> None:
        raise HTTPException(400, "There was an error parsing the body", {"x-a": "b"})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        response = await client.get("/")
    assert response.json()["code"] == "invalid_request"
    assert response.json()["title"] != response.json()["detail"]
    assert response.headers["x-a"] == "b"
