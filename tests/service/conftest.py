"""Calls to the running service, which the tests of this folder share."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from serve_app.launcher import Service

GENERATIONS = "/v1/audio/generations"
PATIENCE_S = 60.0


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=2 * PATIENCE_S) as client:
        yield client


async def stats(client: httpx.AsyncClient) -> dict[str, Any]:
    """Statistics of the only replica, once it answers."""
    replicas: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not replicas:
            replicas = (await client.get("/stats")).json()["models"]["nano"]
    [replica] = replicas
    return replica


async def until(client: httpx.AsyncClient, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the replica's statistics meet the condition.

    Raises TimeoutError after PATIENCE_S.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not condition(await stats(client)):
            pass


async def generate(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    """The answer to a generation, which succeeded."""
    response = await client.post(GENERATIONS, json=body)
    assert response.status_code == 200, response.text
    return response


def samples_of(content: bytes) -> np.ndarray[Any, Any]:
    """Samples [n] of an audio file at 32 kHz."""
    samples, sample_rate = soundfile.read(io.BytesIO(content))
    assert sample_rate == 32_000
    return np.asarray(samples)
