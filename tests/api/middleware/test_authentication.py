"""Authentication: which requests need a key, and what a key's limits leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import AccessConfig, ApiConfig
from serve_app.errors import RateLimited
from serve_app.gateway.permits import permits
from tests.fakes import SMALL, Clock, FakeGenerator

WEB = "web-key-0123456789"
BATCH = "batch-key-0123456789"
GENERATIONS = "/v1/audio/generations"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"web:{WEB}, batch:{BATCH}")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(permits, "monotonic", clock)
    return clock


@asynccontextmanager
async def serving(generator: FakeGenerator, **access: object) -> AsyncIterator[httpx.AsyncClient]:
    config = ApiConfig(access=AccessConfig(**access))  # type: ignore[arg-type]
    api = create_api(generator, generator, [SMALL], None, config)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://test", follow_redirects=True
    ) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


CALLS = [
    ("POST", GENERATIONS, {"prompt": "a", "duration_s": 1}),
    ("GET", "/v1/audio/stream?prompt=a&duration_s=1", None),
    ("GET", "/v1/models", None),
    ("POST", "/", {"prompt": "a", "duration": 1}),
    ("POST", "/generate", {"prompt": "a", "duration": 1}),
    ("GET", "/stats", None),
    ("POST", "/models/facebook/musicgen-small", {"inputs": "a", "parameters": {"duration": 1}}),
    ("POST", "/v1/audio/speech", {"input": "a", "duration_s": 1}),
    ("POST", "/v1/music", {"prompt": "a", "music_length_ms": 3000}),
    ("GET", "/v1/models/small", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_calls_need_a_key(
    generator: FakeGenerator, method: str, path: str, body: object
) -> None:
    async with serving(generator) as client:
        for headers in (
            {},
            bearer("wrong"),
            bearer(""),
            {"authorization": f"Basic {WEB}"},
            bearer(WEB[:-1]),
        ):
            response = await client.request(method, path, json=body, headers=headers)
            problem = response.json()
            code = problem["detail"]["code"] if path == "/v1/music" else problem["code"]
            assert (response.status_code, code) == (401, "unauthorized")
            assert response.headers["www-authenticate"].startswith("Bearer")
        assert generator.requests == []
        assert (
            await client.request(method, path, json=body, headers=bearer(WEB))
        ).status_code == 200
    assert {request.caller for request in generator.requests} <= {"web"}


@pytest.mark.parametrize(
    ("headers", "challenge", "said"),
    [
        ({}, "Bearer", "The request has no API key"),
        (bearer(""), "Bearer", "has no API key in it"),
        ({"authorization": f"Basic {WEB}"}, "Bearer", "has no API key in it"),
        (bearer(WEB[:-1]), 'Bearer error="invalid_token"', "is not one of this service's"),
        ({"xi-api-key": WEB[:-1]}, 'Bearer error="invalid_token"', "is not one of this service's"),
        ({"xi-api-key": " "}, "Bearer", "The request has no API key"),
    ],
    ids=["none", "empty", "another scheme", "wrong", "another header", "another header, empty"],
)
async def test_a_wrong_key_is_told_from_a_missing_one(
    generator: FakeGenerator, headers: dict[str, str], challenge: str, said: str
) -> None:
    async with serving(generator) as client:
        response = await client.get("/v1/models", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == challenge
    assert said in response.json()["detail"]
    assert WEB[:-1] not in response.text


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_keys_are_read_where_the_clients_of_others_put_them(
    generator: FakeGenerator, method: str, path: str, body: object
) -> None:
    """`xi-api-key` is ElevenLabs', `Authorization: Key` fal's; another header beside does not matter."""
    other = bearer("of-another-service-0123456789")
    async with serving(generator) as client:
        for headers, status in (
            ({"xi-api-key": WEB}, 200),
            ({"authorization": f"Key {WEB}"}, 200),
            ({"xi-api-key": WEB} | other, 200),
            ({"xi-api-key": "wrong"} | bearer(WEB), 200),
            ({"xi-api-key": WEB[:-1]}, 401),
            ({"xi-api-key": ""}, 401),
            ({"authorization": f"Key {BATCH[:-1]}"}, 401),
        ):
            response = await client.request(method, path, json=body, headers=headers)
            assert response.status_code == status, headers
    assert {request.caller for request in generator.requests} <= {"web"}


async def test_pages_of_other_origins_may_send_every_header_of_a_key(
    generator: FakeGenerator,
) -> None:
    async with serving(generator) as client:
        for method in ("POST", "PUT", "DELETE"):
            preflight = {
                "origin": "http://localhost:3000",
                "access-control-request-method": method,
                "access-control-request-headers": "authorization,content-type,xi-api-key",
            }
            response = await client.options("/v1/music", headers=preflight)
            assert response.status_code == 200
            assert "xi-api-key" in response.headers["access-control-allow-headers"]
            assert method in response.headers["access-control-allow-methods"]


async def test_pages_and_documents_need_no_key(generator: FakeGenerator) -> None:
    async with serving(generator) as client:
        for path in ("/health", "/health/live", "/docs", "/openapi.json", "/service-worker.js"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/stats", headers={"accept": "text/html"})).status_code == 200, (
            "a page without figures"
        )
        preflight = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
        assert (await client.options(GENERATIONS, headers=preflight)).status_code == 200


async def test_without_keys_anyone_may_call(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS")
    async with serving(generator) as client:
        assert (await client.get("/v1/models")).status_code == 200


async def test_limits_of_a_key(generator: FakeGenerator, clock: Clock) -> None:
    async with serving(generator, max_audio_s_per_minute=10) as client:
        body = {"prompt": "a", "duration_s": 8}
        first = await client.post(GENERATIONS, json=body, headers=bearer(WEB))
        assert first.status_code == 200
        assert first.headers["ratelimit-policy"] == '"audio-seconds";q=10;w=60'
        second = await client.post(GENERATIONS, json=body, headers=bearer(WEB))
        assert (second.status_code, second.json()["code"]) == (429, "rate_limited")
        assert second.headers["retry-after"] == "36"
        assert second.headers["ratelimit"] == '"audio-seconds";r=2;t=48'
        other = await client.post(GENERATIONS, json=body, headers=bearer(BATCH))
        assert other.status_code == 200
        clock.now += 36
        assert (await client.post(GENERATIONS, json=body, headers=bearer(WEB))).status_code == 200


async def test_requests_at_a_time(generator: FakeGenerator) -> None:
    async with serving(generator, max_concurrent_requests=1) as client:
        body = {"prompt": "a", "duration_s": 1}
        statuses = [
            (await answer).status_code
            for answer in [
                asyncio.create_task(client.post(GENERATIONS, json=body, headers=bearer(WEB)))
                for _ in range(3)
            ]
        ]
        assert statuses.count(200) >= 1
        assert set(statuses) <= {200, 429}
        assert (await client.post(GENERATIONS, json=body, headers=bearer(WEB))).status_code == 200


@pytest.mark.usefixtures("clock")
async def test_a_failure_before_any_music_is_not_counted(generator: FakeGenerator) -> None:
    generator.error = RateLimited("elsewhere")
    async with serving(generator, max_audio_s_per_minute=10) as client:
        body = {"prompt": "a", "duration_s": 8}
        assert (await client.post(GENERATIONS, json=body, headers=bearer(WEB))).status_code == 429
        generator.error = None
        assert (await client.post(GENERATIONS, json=body, headers=bearer(WEB))).status_code == 200
