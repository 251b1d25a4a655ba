"""Deadlines of the running service: what would be late is refused at once, and nothing else is cut off."""

import asyncio
from collections import Counter
from time import perf_counter

import httpx

from serve_app.launcher import Service
from tests.service.conftest import GENERATIONS, PATIENCE_S, PROMPTLY_S, generate

HEADER = "x-musicgen-timeout-seconds"
CALLERS = 100


async def outcomes(service: Service) -> Counter[str]:
    """Ended requests by their outcome, over all processes that export metrics."""
    ...


async def test_of_a_hundred_callers_none_is_admitted_and_then_cut_off(
    service: Service, client: httpx.AsyncClient
) -> None:
    await generate(client, prompt="a", duration_s=2)
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(
        base_url=service.url, timeout=2 * PATIENCE_S, limits=limits
    ) as callers:
        body = {"prompt": "a", "duration_s": 10}
        answers = await asyncio.gather(
            *(callers.post(GENERATIONS, json=body, headers={HEADER: "6"}) for _ in range(CALLERS))
        )
    print(Counter(answer.status_code for answer in answers))
    print(
        [a.headers["retry-after"] for a in answers if a.status_code == 429][:50:10],
        [a.elapsed.total_seconds() for a in answers if a.status_code == 200],
    )
    print([a.text for a in answers if a.status_code == 504][:3])
    print([a.elapsed.total_seconds() for a in answers if a.status_code == 429][::20])
    assert {answer.status_code for answer in answers} == {200, 429}


async def test_a_track_that_no_replica_could_finish_is_refused_at_once(
    client: httpx.AsyncClient,
) -> None:
    await generate(client, prompt="a", duration_s=2)
    asked_at = perf_counter()
    body = {"prompt": "a", "duration_s": 120}
    answer = await client.post(GENERATIONS, json=body, headers={HEADER: "1"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "even on an idle replica" in answer.json()["detail"]
    assert "retry-after" not in answer.headers
    assert perf_counter() - asked_at < PROMPTLY_S
