"""Security headers. The edge knows answers of the service by them (serve_app/edge/haproxy.cfg)."""

from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from tests.fakes import LARGE, SMALL, FakeGenerator

GENERATIONS = "/v1/audio/generations"
PREFLIGHT = {"origin": "https://other.example", "access-control-request-method": "POST"}
REFUSED: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "path": (404, "GET", "/nothing", {}),
    "file": (404, "GET", "/static/nothing", {}),
    "method": (405, "DELETE", "/", {}),
    "body": (400, "POST", GENERATIONS, {"json": {}}),
    "encoding": (415, "POST", GENERATIONS, {"headers": {"content-encoding": "br"}}),
    "size": (413, "POST", GENERATIONS, {"json": {"prompt": "a" * 200_000}}),
    "headers": (431, "GET", "/health", {"headers": {"a": "b" * 40_000}}),
    "deadline": (400, "POST", "/", {"headers": {"x-musicgen-timeout-seconds": "a"}}),
    "origin": (403, "POST", "/", {"headers": {"sec-fetch-site": "cross-site"}}),
    "preflight": (400, "OPTIONS", "/", {"headers": PREFLIGHT}),
}


def assert_headers(response: httpx.Response) -> None:
    assert response.headers["x-content-type-options"] == "nosniff", response.request.url
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_every_route_has_them(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    paths = {path: set(methods) for path, methods in document["paths"].items()}
    assert len(paths) > 10
    for path, methods in (paths | {"/docs": {"get"}, "/openapi.json": {"get"}}).items():
        for method in methods | {"head", "options"}:
            assert_headers(await client.request(method, path.replace("{model_id}", "small")))


@pytest.mark.parametrize(("status", "method", "path", "options"), REFUSED.values(), ids=REFUSED)
async def test_every_refusal_has_them(
    client: httpx.AsyncClient, status: int, method: str, path: str, options: dict[str, Any]
) -> None:
    response = await client.request(method, path, **options)
    assert response.status_code == status
    assert_headers(response)


async def test_a_missing_key_and_a_full_service_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "a:key-0123456789abcdef")
    generator = FakeGenerator()
    for limit, status in ((None, 401), (0, 429)):
        app = create_api(
            generator, generator, [SMALL, LARGE], "small", ApiConfig(), max_requests=limit
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            response = await client.post("/")
        assert response.status_code == status
        assert_headers(response)
