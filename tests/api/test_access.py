"""Keys and limits: who may call, and how much."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from serve_app.api import keys
from serve_app.api.app import create_api
from serve_app.api.keys import KeyRing
from serve_app.config import AccessConfig, ApiConfig
from serve_app.errors import ConfigError, InvalidRequest, RateLimited
from serve_app.gateway import limits
from serve_app.gateway.limits import Limits
from serve_app.gateway.observer import LogObserver
from tests.api.conftest import SMALL, FakeGenerator

WEB, BATCH = "web-key-0123456789", "batch-key-0123456789"
GENERATIONS = "/v1/audio/generations"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"web:{WEB}, batch:{BATCH}")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "monotonic", clock)
    monkeypatch.setattr(keys, "monotonic", clock)
    return clock


@asynccontextmanager
async def serving(generator: FakeGenerator, **access: object) -> AsyncIterator[httpx.AsyncClient]:
    api = create_api(generator, [SMALL], None, ApiConfig(access=AccessConfig(**access)))  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://test"
    ) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


CALLS = [
    ("POST", GENERATIONS, {"prompt": "a", "duration_s": 1}),
    ("GET", "/v1/audio/stream?prompt=a", None),
    ("GET", "/v1/models", None),
    ("POST", "/", {"prompt": "a"}),
    ("POST", "/generate", {"prompt": "a"}),
    ("GET", "/stats", None),
    ("POST", "/models/facebook/musicgen-small", {"inputs": "a"}),
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
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        assert generator.requests == []
        assert (
            await client.request(method, path, json=body, headers=bearer(WEB))
        ).status_code == 200
    assert {request.caller for request in generator.requests} <= {"web"}


async def test_what_is_open(generator: FakeGenerator) -> None:
    async with serving(generator) as client:
        for path in ("/health", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/stats", headers={"accept": "text/html"})).status_code == 200, (
            "a page without figures"
        )
        preflight = {"origin": "http://page", "access-control-request-method": "POST"}
        assert (await client.options(GENERATIONS, headers=preflight)).status_code == 200


async def test_without_keys_anyone_may_call(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS")
    async with serving(generator) as client:
        assert (await client.get("/v1/models")).status_code == 200
    with pytest.raises(ConfigError, match="API keys are required, and there are none"):
        KeyRing(AccessConfig(require_keys=True), on_file_error=LogObserver().keys_rejected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ann: short", "Entry 1 of MUSICGEN_API_KEYS is not `name:key`"),
        ("0123456789abcdefgh", "Entry 1 of"),
        (f"a b:{WEB}", "Entry 1 of"),
        (f"web:{WEB},web:{BATCH}", "Entry 2 of MUSICGEN_API_KEYS has a name that stands twice"),
    ],
)
def test_bad_keys_are_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", text)
    with pytest.raises(ConfigError, match=message) as error:
        KeyRing(AccessConfig(), on_file_error=LogObserver().keys_rejected)
    assert WEB not in str(error.value)
    assert "short" not in str(error.value)


def test_seconds_of_music_come_back_with_time(clock: Clock) -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=60))
    allowance.take("web", 50)
    with pytest.raises(RateLimited) as error:
        allowance.take("web", 20)
    assert error.value.retry_after_s == pytest.approx(10)
    allowance.take("batch", 60)
    clock.now += 10
    assert allowance.headers("web") == {
        "ratelimit-policy": '"audio-seconds";q=60;w=60',
        "ratelimit": '"audio-seconds";r=20;t=40',
    }
    allowance.take("web", 20)
    allowance.give_back("web", 20)
    allowance.take("web", 20)
    with pytest.raises(InvalidRequest, match="may make 60 seconds of music a minute"):
        allowance.take("web", 61)


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
async def test_what_fails_before_any_music_is_not_counted(generator: FakeGenerator) -> None:
    generator.error = RateLimited("elsewhere")
    async with serving(generator, max_audio_s_per_minute=10) as client:
        body = {"prompt": "a", "duration_s": 8}
        assert (await client.post(GENERATIONS, json=body, headers=bearer(WEB))).status_code == 429
        generator.error = None
        assert (await client.post(GENERATIONS, json=body, headers=bearer(WEB))).status_code == 200


async def test_answers_have_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
