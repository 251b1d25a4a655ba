"""The assembled API: each rule of the gateway holds for its requests."""

import asyncio

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.errors import ReplicaFailed
from tests.fakes import LARGE, SMALL, FakeGenerator, RecordingObserver

PATH = "/v1/audio/generations"


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def client(generator: FakeGenerator, observer: RecordingObserver) -> httpx.AsyncClient:
    app = create_api(generator, generator, [SMALL, LARGE], None, ApiConfig(), observer)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_outcomes_are_observed(
    client: httpx.AsyncClient, observer: RecordingObserver
) -> None:
    headers = {"x-request-id": "this-one"}
    await client.post(PATH, json={"prompt": "a", "duration_s": 2}, headers=headers)
    await client.post(PATH, json={"prompt": " "})
    [outcome] = observer.outcomes
    assert (outcome.request_id, outcome.model, outcome.code) == ("this-one", "small", "ok")
    assert outcome.audio_s == 2.0


async def test_requests_are_retried(
    client: httpx.AsyncClient, generator: FakeGenerator, observer: RecordingObserver
) -> None:
    generator.late_error = ReplicaFailed("It died.")
    async with asyncio.timeout(60):
        await client.post(PATH, json={"prompt": "a", "duration_s": 1})
    assert observer.retries == ["small"] * 4
    assert [outcome.code for outcome in observer.outcomes] == ["replica_failed"]
    seeds = {request.sampling.seed for request in generator.requests}
    assert len(seeds) == 1, "each try has the same seed"


async def test_a_fallback_is_observed_as_a_model_of_its_own(
    client: httpx.AsyncClient, generator: FakeGenerator, observer: RecordingObserver
) -> None:
    generator.full = ("large",)
    await client.post(PATH, json={"prompt": "a", "duration_s": 1, "model": "large"})
    told = [(outcome.model, outcome.code) for outcome in observer.outcomes]
    assert told == [("large", "queue_full"), ("small", "ok")]


def client_of(generator: FakeGenerator, *origins: str) -> httpx.AsyncClient:
    config = ApiConfig(cors_origins=origins) if origins else ApiConfig()
    app = create_api(generator, generator, [SMALL], None, config)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((), "http://localhost:5173", "http://localhost:5173"),
        ((), "http://127.0.0.1", "http://127.0.0.1"),
        ((), "https://evil.example", None),
        ((), "http://localhost.evil.example:80", None),
        ((), "http://localhost:5173.evil.example", None),
        ((), "null", None),
        (("https://music.example",), "https://music.example", "https://music.example"),
        (("https://music.example",), "https://music.example:8443", None),
        (("https://music.example",), "http://localhost:5173", None),
        (("*",), "https://anyone.example", "*"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_pages_of_allowed_origins_may_call(
    generator: FakeGenerator,
    origins: tuple[str, ...],
    origin: str,
    allowed: str | None,
    method: str,
) -> None:
    headers = {"origin": origin, "access-control-request-method": method}
    headers["access-control-request-private-network"] = "true"
    async with client_of(generator, *origins) as client:
        preflight = await client.options(PATH, headers=headers)
        answer = await client.get("/v1/models", headers={"origin": origin})
    assert answer.headers.get("access-control-allow-origin") == allowed
    assert preflight.status_code == (200 if allowed else 400)
    assert preflight.headers.get("access-control-allow-origin") == allowed
    assert "access-control-allow-credentials" not in preflight.headers


async def test_a_trailing_slash_is_not_redirected(generator: FakeGenerator) -> None:
    async with client_of(generator) as client:
        assert (await client.get("/v1/models/")).status_code == 404


async def test_rules_of_paths_hold_below_a_route_prefix(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:web-key-0123456789")
    config = ApiConfig(max_body_bytes=100, max_upload_bytes=10_000)
    app = create_api(generator, generator, [SMALL], None, config)
    transport = httpx.ASGITransport(app, root_path="/music")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for path in ("/music/", "/music/health", "/music/docs", "/music/static/main.js"):
            assert (await client.get(path)).status_code == 200, path
        assert (await client.get("/music/v1/models")).status_code == 401
        headers = {"authorization": "Bearer web-key-0123456789"}
        body = {"prompt": "a" * 150, "duration_s": 1}
        answer = await client.post("/music" + PATH, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        speech = await client.post("/music/v1/audio/speech", json=body, headers=headers)
        assert speech.status_code == 413
