"""The service with more callers than it serves: its state stays visible, its ingress alive."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from serve_app.launcher import Service
from tests.service.conftest import GENERATIONS, PATIENCE_S, until

STREAMS = 12  # on 4 slots, and 5 requests that a replica holds
QUICK_S = 2.0  # on a machine whose cores are all busy


@contextlib.asynccontextmanager
async def saturated(client: httpx.AsyncClient) -> AsyncIterator[None]:
    """Let STREAMS callers ask for long tracks until the block ends."""
    body = {"prompt": "a", "duration_s": 120}
    callers = [asyncio.create_task(client.post(GENERATIONS, json=body)) for _ in range(STREAMS)]
    try:
        await until(client, lambda s: s["slots_used"] == 4 and s["queued_requests"] == 1)
        yield
    finally:
        for caller in callers:
            caller.cancel()
        await until(client, lambda s: s["slots_used"] == 0)


async def test_a_saturated_replica_stays_visible(client: httpx.AsyncClient) -> None:
    async with saturated(client):
        started_at = perf_counter()
        for _ in range(20):
            answer = (await client.get("/stats")).json()
            assert answer["model_loaded"] is True
            [replica] = answer["models"]["nano"]
            assert (replica["slots_used"], replica["queued_requests"]) == (4, 1)
            health = await client.get("/health")
            assert (health.status_code, health.json()["model_loaded"]) == (200, True)
        assert perf_counter() - started_at < 20 * QUICK_S


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/facebook/musicgen-small", {"inputs": "a", "parameters": {"max_new_tokens": 25}}),
        (GENERATIONS, {"prompt": "a", "duration_s": 0.5, "model": "auto"}),
    ],
)
async def test_a_saturated_replica_takes_requests(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    """They wait for their turn: the model is ready."""
    async with saturated(client):
        call = asyncio.create_task(client.post(path, json=body))
        assert not (await asyncio.wait({call}, timeout=QUICK_S))[0], "it waits"
    response = await call
    assert response.status_code == 200
