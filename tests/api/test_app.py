"""The assembled API: each rule of the gateway holds for its requests."""

import asyncio

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config import ApiConfig
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
    async with asyncio.timeout(10):
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
