"""Origins: which web pages may call a service without API keys."""

import json
from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, FakeGenerator

GENERATIONS = "/v1/audio/generations"
STREAM = "/v1/audio/stream?prompt=a&duration_s=1"
PLAIN = {"content-type": "text/plain"}  # needs no preflight
EVIL = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
LOCAL = "http://127.0.0.1:8000"
REBOUND = "http://evil.example:8000"
READING = ("/stats", "/v1/models", "/nothing")
NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
OTHERS = [
    EVIL,
    {"origin": "http://evil.example"},
    {"origin": "null", "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "referer": "https://evil.example/a"},
    {"referer": "https://evil.example/a"},
    {"origin": "http://127.0.0.1.evil.example:8000"},
    {"origin": "http://evil.example", "referer": f"{LOCAL}/"},
]
MAKING = [
    ("POST", GENERATIONS),
    ("POST", "/"),
    ("POST", "/generate"),
    ("POST", "/models/facebook/musicgen-small"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/music"),
    ("POST", "/v1/audio/conversions"),
    ("POST", "/v1/audio/provenance"),
    ("GET", STREAM),
    ("HEAD", STREAM),
]
SHORT: dict[str, dict[str, Any]] = {
    GENERATIONS: {"duration_s": 1},
    "/": {"duration": 1},
    "/generate": {"duration": 1},
    "/models/facebook/musicgen-small": {"parameters": {"duration": 1}},
    "/v1/music": {"music_length_ms": 3000},
}
Headers = dict[str, str]


def client_of(
    generator: FakeGenerator, url: str = LOCAL, origins: tuple[str, ...] | None = None
) -> httpx.AsyncClient:
    config = ApiConfig() if origins is None else ApiConfig(cors_origins=origins)
    app = create_api(generator, generator, [SMALL], None, config)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url)


async def answer(
    client: httpx.AsyncClient, method: str, path: str, headers: Headers
) -> httpx.Response:
    field = "inputs" if path.startswith("/models") else "prompt"
    body: dict[str, Any] = {field: "a"} | SHORT.get(path, {})
    content = json.dumps(body) if method == "POST" else None
    return await client.request(method, path, content=content, headers=PLAIN | headers)


@pytest.mark.parametrize("headers", OTHERS)
@pytest.mark.parametrize("path", READING)
async def test_another_page_reads_no_data(
    generator: FakeGenerator, path: str, headers: Headers
) -> None:
    """Not by a script, an image or a frame either, whose answers the page could not read."""
    frame = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    async with client_of(generator) as client:
        for more in ({}, frame, {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}):
            response = await answer(client, "GET", path, headers | more)
            assert response.status_code == 403
            assert response.json()["code"] == "origin_not_allowed"


@pytest.mark.parametrize("headers", [*OTHERS, {"sec-fetch-site": "same-site"}])
async def test_a_link_makes_nothing(generator: FakeGenerator, headers: Headers) -> None:
    async with client_of(generator, "https://music.example") as client:
        for method, path in MAKING:
            response = await answer(
                client, method, path, headers | NAVIGATION | {"accept-language": "en"}
            )
            assert response.status_code == 403
    assert generator.requests == []


@pytest.mark.parametrize("headers", OTHERS)
@pytest.mark.parametrize(("method", "path"), MAKING)
async def test_another_page_makes_nothing(
    generator: FakeGenerator, method: str, path: str, headers: Headers
) -> None:
    async with client_of(generator) as client:
        response = await answer(client, method, path, headers)
    assert response.status_code == 403
    if method != "HEAD":
        assert "origin_not_allowed" in response.text, "in each dialect's form"
        assert "api.cors_origins" in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers
    assert generator.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl, the Edge Function, the Python client
        {"origin": LOCAL, "sec-fetch-site": "same-origin"},
        {"origin": LOCAL},  # a browser before Sec-Fetch-Site
        {"sec-fetch-site": "same-origin", "accept-language": "en"},  # <audio> of the page
        {"accept-language": "en"},
        {"sec-fetch-site": "none"},  # the address bar
        {"origin": "http://localhost:5173", "sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-site"},  # <audio> of a page on another port
        {"sec-fetch-site": "cross-site", "referer": "http://localhost:5173/a"},
    ],
)
@pytest.mark.parametrize(("method", "path"), MAKING)
async def test_programs_and_own_and_allowed_pages_may_call(
    generator: FakeGenerator, method: str, path: str, headers: Headers
) -> None:
    async with client_of(generator) as client:
        response = await answer(client, method, path, headers)
    assert response.status_code != 403, response.text


@pytest.mark.parametrize(
    ("url", "headers", "allowed"),
    [
        (REBOUND, {"origin": REBOUND}, False),
        (REBOUND, {"accept-language": "en"}, False),
        (REBOUND, {"accept-language": "en", "referer": f"{REBOUND}/"}, False),
        (REBOUND, {}, True),  # a program, by a public name
        ("https://music.example", {"sec-fetch-site": "same-origin"}, True),
        ("https://music.example", {"origin": "https://music.example"}, False),
        ("http://192.168.1.5:8000", {"origin": "http://192.168.1.5:8000"}, True),
        ("http://[::1]:8000", {"origin": "http://[::1]:8000"}, True),
        ("http://localhost:8000", {"origin": "http://localhost:8000"}, True),
        ("http://music:8000", {"origin": "http://music:8000"}, True),
        ("http://gpu.local:8000", {"origin": "http://gpu.local:8000"}, True),
        ("http://gpu.local:8000", {"accept-language": "en"}, True),
        ("http://gpu.local:8000", {"origin": "http://gpu.local:8001"}, False),
        ("http://local:8000", {"origin": "http://gpu.local:8000"}, False),
    ],
)
async def test_a_name_that_was_pointed_at_the_service_is_not_its_own(
    generator: FakeGenerator, url: str, headers: Headers, allowed: bool
) -> None:
    """DNS rebinding: only names that no page of the internet can have are the service's own."""
    async with client_of(generator, url) as client:
        made = await answer(client, "POST", GENERATIONS, headers)
        streamed = await answer(client, "GET", STREAM, headers)
        models = await answer(client, "GET", "/v1/models", headers)
    assert models.status_code == (200 if allowed else 403)
    assert made.status_code == (200 if allowed else 403), made.text
    assert streamed.status_code == (303 if allowed else 403), streamed.text


@pytest.mark.parametrize(
    ("origins", "headers", "status"),
    [
        (("https://music.example",), {"origin": "https://music.example"}, 200),
        (("https://music.example",), {"accept-language": "en"}, 200),
        (("https://music.example",), {"origin": "https://other.example"}, 403),
        (("https://music.example",), {"origin": "http://localhost:5173"}, 403),
        (("*",), EVIL, 200),
        (("*",), {"sec-fetch-site": "cross-site", "referer": "http://evil.example"}, 200),
        (("*",), {"origin": "null"}, 200),
    ],
)
async def test_origins_are_named_in_the_configuration(
    generator: FakeGenerator, origins: tuple[str, ...], headers: Headers, status: int
) -> None:
    async with client_of(generator, "http://music.example", origins) as client:
        response = await answer(client, "POST", GENERATIONS, headers)
    assert response.status_code == status


@pytest.mark.parametrize("host", ["[::1", "a]b", ""])
async def test_a_broken_host_is_nobodys_origin(generator: FakeGenerator, host: str) -> None:
    async with client_of(generator) as client:
        response = await answer(client, "POST", GENERATIONS, {"host": host, **EVIL})
    assert response.status_code == 403


async def test_pages_are_read_from_anywhere(generator: FakeGenerator) -> None:
    """Links, bookmarks and health checks; answers to other pages have no CORS headers."""
    link = {
        "sec-fetch-site": "cross-site",
        "referer": "http://evil.example/",
        "accept": "text/html",
    }
    async with client_of(generator) as client:
        for path in ("/", "/docs", "/openapi.json", "/health", "/static/main.js", "/stats"):
            response = await client.get(path, headers=link)
            assert response.status_code == 200, path
        for path in READING[:2]:
            assert (await client.get(path, headers=link | NAVIGATION)).status_code == 200
        assert (await client.get("/v1/models", headers=link)).status_code == 403
        assert (await client.get("/health", headers=EVIL)).status_code == 200
        assert (await client.get("/v1/models", headers=EVIL)).status_code == 403


async def test_a_stream_is_fetched_from_anywhere_by_its_address(generator: FakeGenerator) -> None:
    async with client_of(generator) as client:
        one = (await client.get(STREAM)).next_request
        assert one is not None
        response = await client.get(one.url, headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 200


async def test_preflights_are_answered_as_before(generator: FakeGenerator) -> None:
    asked = {"access-control-request-method": "POST"}
    async with client_of(generator) as client:
        for origin, status in (("http://localhost:1", 200), ("http://evil.example", 400)):
            response = await client.options(GENERATIONS, headers=asked | {"origin": origin})
            assert response.status_code == status


async def test_a_key_is_enough(generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of another origin cannot have one."""
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:web-key-0123456789")
    async with client_of(generator) as client:
        assert (await answer(client, "POST", GENERATIONS, EVIL)).status_code == 401
        key = {"authorization": "Bearer web-key-0123456789"}
        assert (await answer(client, "POST", GENERATIONS, EVIL | key)).status_code == 200
