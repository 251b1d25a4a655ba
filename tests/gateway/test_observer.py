"""What a observer hears: of every request, how it ended."""

import asyncio

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config import ApiConfig
from serve_app.errors import InvalidRequest, ReplicaFailed
from serve_app.gateway.observer import Ending, ObservedGenerator
from serve_app.types import GenerationRequest
from tests.api.conftest import LARGE, SAMPLE_RATE, SMALL, FakeGenerator

PATH = "/v1/audio/generations"


class Ear:
    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.retries: list[str] = []
        self.rejected_keys = 0

    def ended(self, ending: Ending) -> None:
        self.endings.append(ending)

    def retried(self, model_id: str) -> None:
        self.retries.append(model_id)

    def keys_rejected(self) -> None:
        self.rejected_keys += 1


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def client(generator: FakeGenerator, ear: Ear) -> httpx.AsyncClient:
    app = create_api(generator, [SMALL, LARGE], "small", ApiConfig(), ear)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
    )


async def test_a_finished_piece(client: httpx.AsyncClient, ear: Ear) -> None:
    headers = {"x-request-id": "this-one"}
    response = await client.post(PATH, json={"prompt": "a", "duration_s": 2}, headers=headers)
    [ending] = ear.endings
    assert (ending.request_id, ending.model, ending.outcome, ending.audio_s) == (
        "this-one",
        "small",
        "ok",
        2.0,
    )
    assert ending.first_audio_s is not None
    assert 0 < ending.first_audio_s <= ending.total_s
    assert ending.timings is not None
    assert ending.timings.queue_s == 0.25
    assert ending.cost_usd == pytest.approx(1.2 * 1.5 / 3600, rel=1e-4)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [(InvalidRequest("No."), "invalid_request"), (RuntimeError("Boom."), "internal_error")],
)
async def test_a_failure(
    client: httpx.AsyncClient, generator: FakeGenerator, ear: Ear, error: Exception, code: str
) -> None:
    generator.error = error
    await client.post(PATH, json={"prompt": "a"})
    assert [(ending.outcome, ending.audio_s, ending.first_audio_s) for ending in ear.endings] == [
        (code, 0.0, None)
    ]


async def test_a_model_that_is_full_and_the_one_that_answers(
    client: httpx.AsyncClient, generator: FakeGenerator, ear: Ear
) -> None:
    generator.full = ("large",)
    await client.post(PATH, json={"prompt": "a", "duration_s": 1, "model": "large"})
    assert [(e.model, e.outcome) for e in ear.endings] == [("large", "queue_full"), ("small", "ok")]


async def test_a_caller_that_leaves(generator: FakeGenerator, ear: Ear) -> None:
    """What it had got counts."""
    request = GenerationRequest(request_id="1", model="small", prompt="a", duration_s=30.0)
    chunks = ObservedGenerator(generator, [SMALL], ear).generate(request)
    await anext(chunks)
    await chunks.aclose()
    assert [(ending.outcome, ending.audio_s) for ending in ear.endings] == [
        ("request_aborted", 10 / SAMPLE_RATE)
    ]


async def test_retries(client: httpx.AsyncClient, generator: FakeGenerator, ear: Ear) -> None:
    generator.late_error = ReplicaFailed("It died.")
    async with asyncio.timeout(10):
        await client.post(PATH, json={"prompt": "a", "duration_s": 1})
    assert ear.retries == ["small"] * 4
    assert [ending.outcome for ending in ear.endings] == ["replica_failed"]
