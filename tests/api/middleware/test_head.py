"""HEAD: as GET, without the body, and without a track."""

import httpx
import pytest

from tests.fakes import FakeGenerator


@pytest.mark.parametrize("path", ["/", "/health", "/stats", "/v1/models", "/docs", "/openapi.json"])
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    head = await client.head(path)
    get = await client.get(path)
    assert head.status_code == get.status_code == 200
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]
    assert head.content == b""
    assert get.content


async def test_head_makes_no_track(client: httpx.AsyncClient, generator: FakeGenerator) -> None:
    answer = await client.head("/v1/audio/stream?prompt=a")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert answer.headers["accept-ranges"] == "bytes"
    assert generator.requests == []


async def test_a_route_for_post_alone_refuses_head(client: httpx.AsyncClient) -> None:
    assert (await client.head("/generate")).status_code == 405
