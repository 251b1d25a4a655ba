"""HEAD: as GET, without the body, and without a track."""

from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, FakeGenerator


@pytest.mark.parametrize(
    "path", ["/", "/health", "/health/live", "/stats", "/v1/models", "/docs", "/openapi.json"]
)
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    head = await client.head(path)
    get = await client.get(path)
    assert head.status_code == get.status_code == 200
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]
    assert head.content == b""
    assert get.content


@pytest.mark.parametrize("path", ["/", "/static/main.js"])
@pytest.mark.parametrize("value", ["bytes=0-9", "bytes=99999999-"])
async def test_head_has_no_range(client: httpx.AsyncClient, path: str, value: str) -> None:
    """RFC 9110, section 14.2."""
    whole = await client.get(path)
    head = await client.head(path, headers={"range": value})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert "content-range" not in head.headers


async def test_head_makes_no_track(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    answer = await client.head("/v1/audio/stream?prompt=a")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert answer.headers["accept-ranges"] == "bytes"
    assert generator.requests == []


async def test_the_start_of_the_app_passes(generator: FakeGenerator) -> None:
    """Lifespan events have no path."""
    app = create_api(generator, generator, [SMALL], None, ApiConfig())
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.shutdown" if sent else "lifespan.startup"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_route_for_post_alone_refuses_head(client: httpx.AsyncClient) -> None:
    assert (await client.head("/generate")).status_code == 405
