"""Errors that are raised before a route, on the routes of each dialect: its clients read them all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import AccessConfig, ApiConfig
from tests.fakes import SMALL, FakeGenerator

Body = dict[str, Any]
KEY = "table-key-0123456789"
CROSS_SITE = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}


def is_openais(body: Body) -> bool:
    """Its clients show `error.message`."""
    error = body["error"]
    members = set(error) == {"message", "type", "param", "code"}
    return members and error["message"] == body["detail"] and error["code"] == body["code"]


def is_replicates(body: Body) -> bool:
    """Its client for Python shows title and detail, and reads the status."""
    return isinstance(body["detail"], str) and bool(body["title"]) and body["status"] >= 400


def is_elevenlabs(body: Body) -> bool:
    members = {"type", "code", "message", "status", "request_id", "param"}
    detail = body["detail"]
    return set(body) == {"detail"} and set(detail) == members and bool(detail["message"])


def is_hugging_faces(body: Body) -> bool:
    """Its clients show `error`, a text."""
    return isinstance(body["error"], str) and body["error"] == body["detail"]


def is_problem(body: Body) -> bool:
    """The older contract has no member of a dialect."""
    return is_replicates(body) and "error" not in body


@dataclass(frozen=True)
class Route:
    """A route, the form of its errors, and a path beside it that is not served."""

    path: str
    is_form: Callable[[Body], bool]
    unserved: str | None = None


ROUTES = [
    Route("/v1/audio/generations", is_openais, "/v1/audio/nothing"),
    Route("/v1/audio/conversions", is_openais),
    Route("/v1/audio/speech", is_openais, "/v1/nothing"),
    Route("/v1/audio/generate", is_openais, "/nothing"),
    Route("/v1/jobs", is_openais),
    Route("/v1/predictions", is_replicates, "/v1/trainings"),
    Route("/v1/models/meta/musicgen/predictions", is_replicates, "/v1/collections"),
    Route("/v1/files", is_replicates, "/v1/hardware"),
    Route("/v1/music", is_elevenlabs, "/v1/music/nothing"),
    Route("/v1/music/stream", is_elevenlabs, "/v1/music/stream/nothing"),
    Route("/v1/music/detailed", is_elevenlabs),
    Route("/v1/sound-generation", is_elevenlabs),
    Route("/models/facebook/musicgen-small", is_hugging_faces, "/models/nothing"),
    Route("/", is_hugging_faces),
    Route("/generate", is_problem),
]


async def endless() -> AsyncIterator[bytes]:
    yield b'{"p'
    await asyncio.Event().wait()


@dataclass(frozen=True)
class Fault:
    """A request at fault, or a service that cannot take it. options: of an ApiConfig."""

    status: int
    options: Body = field(default_factory=dict)
    request: Body = field(default_factory=dict)
    method: str = "POST"
    max_requests: int | None = None


FAULTS = [
    Fault(400, request={"headers": {"x-musicgen-timeout-seconds": "soon"}}),
    Fault(401),
    Fault(403, request={"headers": CROSS_SITE}),
    Fault(405, method="PATCH"),
    Fault(408, {"body_timeout_s": 0.02}, {"content": endless}),
    Fault(413, {"max_body_bytes": 10, "max_upload_bytes": 10}, {"content": b" " * 11}),
    Fault(415, request={"headers": {"content-encoding": "br"}, "content": b"a"}),
    Fault(429, max_requests=0),
    Fault(431, {"max_header_bytes": 400}, {"headers": {"x-long": "a" * 400}}),
]


def client_of(fault: Fault, keys: Path) -> httpx.AsyncClient:
    access = AccessConfig()
    if fault.status == 401:
        keys.write_text(f"me:{KEY}\n")
        access = AccessConfig(keys_file=str(keys))
    generator = FakeGenerator()
    api = create_api(
        generator, generator, [SMALL], None, ApiConfig(access=access, **fault.options),
        max_requests=fault.max_requests, jobs=lambda *_: "Jobs are off.",
    )  # fmt: skip
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test")


def check(response: httpx.Response, route: Route, status: int) -> None:
    assert response.status_code == status, (route.path, response.text)
    assert response.headers["content-type"] in ("application/json", "application/problem+json")
    assert route.is_form(response.json()), (route.path, response.text)
    assert ("retry-after" in response.headers) is (status in (408, 429))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.status))
async def test_errors_of_the_middleware_have_the_form_of_each_dialect(
    fault: Fault, tmp_path: Path
) -> None:
    async with client_of(fault, tmp_path / "keys") as client:
        for route in ROUTES:
            given = dict(fault.request)
            if callable(given.get("content")):
                given["content"] = given["content"]()
            response = await client.request(fault.method, route.path, **given)
            check(response, route, fault.status)


async def test_paths_that_are_not_served_have_the_form_of_their_dialect(tmp_path: Path) -> None:
    async with client_of(Fault(404), tmp_path) as client:
        for route in ROUTES:
            if route.unserved is not None:
                check(await client.get(route.unserved), route, 404)


async def test_routes_of_jobs_that_are_off_have_the_form_of_their_dialect(tmp_path: Path) -> None:
    async with client_of(Fault(503), tmp_path) as client:
        for route in ROUTES[4:8]:
            response = await client.post(route.path, json={})
            assert response.status_code == 503
            assert route.is_form(response.json())
