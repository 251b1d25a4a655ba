"""Slots and the queue under load: a client that leaves frees its slot, an excess gets 429."""

import asyncio
from typing import Any

import httpx
import pytest

from serve_app.launcher import Service
from tests.service.conftest import (
    GENERATIONS,
    LONG_S,
    PATIENCE_S,
    generate,
    samples_of,
    unfinished,
    until,
)


async def test_a_listener_that_goes_away_frees_its_slot(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"prompt": "a", "duration_s": LONG_S, "stream": True}
    async with unfinished(client, LONG_S), client.stream("POST", GENERATIONS, json=body) as answer:
        async for _ in answer.aiter_bytes():
            await until(client, lambda s: s["slots_used"] == 1)
            break


async def test_more_requests_than_slots_all_answer(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(
        *(generate(client, prompt="beat", duration_s=0.5, seed=i) for i in range(20))
    )
    assert len({response.content for response in responses}) == 20


@pytest.mark.parametrize(
    ("path", "body", "duration_s"),
    [
        (GENERATIONS, {"prompt": "a", "duration_s": LONG_S}, LONG_S),
        ("/", {"prompt": "a"}, 30),
        ("/generate", {"prompt": "a"}, 30),
        ("/models/x/nano", {"inputs": "a", "parameters": {"duration": LONG_S}}, LONG_S),
    ],
)
async def test_a_client_that_goes_away_frees_its_slot(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], duration_s: float
) -> None:
    async with unfinished(client, duration_s):
        request = asyncio.create_task(client.post(path, json=body))
        await until(client, lambda s: s["slots_used"] == 1)
        request.cancel()


async def test_a_full_queue_refuses_and_recovers(service: Service) -> None:
    """240 callers at once: an hour of music may wait, 30 tracks; the other callers get a 429."""
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(
        base_url=service.url, timeout=2 * PATIENCE_S, limits=limits
    ) as client:
        body = {"prompt": "a", "duration_s": LONG_S}
        callers = {asyncio.create_task(client.post(GENERATIONS, json=body)) for _ in range(240)}
        refused: set[asyncio.Task[httpx.Response]] = set()
        async with asyncio.timeout(2 * PATIENCE_S):
            while len(refused) < 31:
                done, callers = await asyncio.wait(callers, return_when=asyncio.FIRST_COMPLETED)
                refused |= {caller for caller in done if not caller.result().is_success}
        answers = [task.result() for task in refused]
        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {
            (429, "queue_full")
        }
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await until(client, lambda s: s["slots_used"] == 0)
        assert (
            len(samples_of((await generate(client, prompt="a", duration_s=0.5)).content)) == 16_000
        )
