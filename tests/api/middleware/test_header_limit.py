"""Limit on the size of headers."""

import httpx

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, FakeGenerator


async def test_large_headers_are_refused(generator: FakeGenerator) -> None:
    app = create_api(generator, generator, [SMALL], None, ApiConfig(max_header_bytes=1000))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/health", headers={"x-a": "a" * 500})).status_code == 200
        response = await client.get("/health", headers={"x-a": "a" * 1000})
    assert (response.status_code, response.json()["code"]) == (431, "headers_too_large")
    assert response.json()["detail"].startswith("Headers must be at most 1000 bytes, but have 1")
