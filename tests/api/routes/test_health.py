"""Health checks while the default model starts, is ready, has gone, or may be at zero replicas."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.gateway import fleet_view
from serve_app.model_status import ModelCard
from tests.fakes import SMALL, Clock, FakeGenerator

STARTING = {"status": "starting", "device": "unknown", "model_loaded": False}
COLD = {"status": "healthy", "device": "unknown", "model_loaded": False}
READY = {"status": "healthy", "device": "cuda", "model_loaded": True}


@asynccontextmanager
async def serving(
    fleet: FakeGenerator, card: ModelCard = SMALL, max_requests: int | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    api = create_api(fleet, fleet, [card], None, ApiConfig(), max_requests=max_requests)
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_it_is_starting_until_the_default_model_was_ready_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(fleet_view, "monotonic", clock)
    fleet = FakeGenerator(loaded=False)
    async with serving(fleet) as client:
        for _ in range(2):
            response = await client.get("/health")
            assert (response.status_code, response.json()) == (503, STARTING)
            assert response.headers["retry-after"] == "1"
        fleet.loaded = True
        response = await client.get("/health")
        assert (response.status_code, response.json()) == (200, READY)
        fleet.loaded = False
        clock.now += 10  # the replicas are asked again
        response = await client.get("/health")
        assert (response.status_code, response.json()) == (200, COLD)


async def test_a_model_that_may_be_at_zero_replicas_is_healthy_from_the_start() -> None:
    async with serving(FakeGenerator(loaded=False), replace(SMALL, scales_to_zero=True)) as client:
        response = await client.get("/health")
        assert (response.status_code, response.json()) == (200, COLD)


async def test_it_is_alive_as_soon_as_http_answers() -> None:
    async with serving(FakeGenerator(loaded=False)) as client:
        response = await client.get("/health/live")
        assert (response.status_code, response.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/health", "/health/live"])
async def test_health_needs_no_key_and_no_room(
    method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:web-key-0123456789")
    async with serving(FakeGenerator(), max_requests=0) as client:
        assert (await client.request(method, path)).status_code == 200
        assert (await client.get("/v1/models")).status_code == 429


async def test_it_says_why_no_node_can_run_the_model() -> None:
    fleet = FakeGenerator(loaded=False, obstacles={"small": "No node has 1 GPU."})
    async with serving(fleet) as client:
        response = await client.get("/health")
    assert response.status_code == 503
    reason = "No node has 1 GPU."
    assert response.json() == STARTING | {"reason": reason, "reasons": {"small": reason}}


async def test_it_says_why_no_node_can_run_another_model() -> None:
    fleet = FakeGenerator(obstacles={"large": "No node has 1 GPU."})
    large = replace(SMALL, model_id="large", aliases=())
    api = create_api(fleet, fleet, [SMALL, large], None, ApiConfig())
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/health")
    assert response.status_code == 200
    assert response.json() == READY | {"reasons": {"large": "No node has 1 GPU."}}
