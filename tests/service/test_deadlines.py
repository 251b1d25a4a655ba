"""Deadlines of the running service: what would be late is refused at once, and nothing else is cut off."""

import asyncio
import os
from collections import Counter
from time import perf_counter

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.launcher import Service
from tests.service.conftest import GENERATIONS, PATIENCE_S, PROMPTLY_S, generate, until

HEADER = "x-musicgen-timeout-seconds"
CALLERS = 100
TIMEOUT_S = 8
BODY = {"prompt": "a", "duration_s": 6}
SHORT = {"prompt": "a", "duration_s": 0.5}
ENDS = ("deadline_exceeded", "deadline_unattainable", "request_aborted")


async def call_at_once(service: Service) -> list[httpx.Response]:
    """Let CALLERS ask at once for more music than can be made within TIMEOUT_S."""
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(
        base_url=service.url, timeout=2 * PATIENCE_S, limits=limits
    ) as callers:
        headers = {HEADER: str(TIMEOUT_S)}
        calls = [callers.post(GENERATIONS, json=BODY, headers=headers) for _ in range(CALLERS)]
        return await asyncio.gather(*calls)


async def outcomes(service: Service) -> Counter[str]:
    """Ended requests by their outcome."""
    found: Counter[str] = Counter()
    token = {"authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=token) as client:
        places = (await client.get(f"{service.dashboard_url}/api/prometheus/sd")).json()
        for target in [target for place in places for target in place["targets"]]:
            try:
                text = (await client.get(f"http://{target}/metrics")).text
            except httpx.ConnectError:  # Ray has just started
                continue
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name.endswith("musicgen_requests_total"):
                        found[sample.labels["outcome"]] += int(sample.value)
    return found


async def test_of_a_hundred_callers_none_is_admitted_and_then_cut_off(
    service: Service, client: httpx.AsyncClient
) -> None:
    await generate(client, prompt="a", duration_s=2)
    answers = await call_at_once(service)
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.json()["code"] for answer in refused} == {"queue_full"}
    wait_s = int(refused[0].headers["retry-after"])
    assert 1 <= wait_s <= 4 * TIMEOUT_S
    await until(client, lambda s: s["slots_used"] == 0)
    again = await client.post(GENERATIONS, json=BODY, headers={HEADER: str(TIMEOUT_S)})
    assert again.status_code == 200


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


@pytest.mark.long
async def test_missed_deadlines_and_clients_that_leave_are_counted_apart(
    service: Service, client: httpx.AsyncClient
) -> None:
    """And so are deadlines that no replica could meet: those are refused, not missed."""
    await generate(client, prompt="a", duration_s=2)
    before = await outcomes(service)
    [replica] = [one for one in service.processes() if "MusicGen:nano" in one.name()]
    replica.suspend()
    try:
        missed = await client.post(GENERATIONS, json=SHORT, headers={HEADER: "3"})
    finally:
        replica.resume()
    assert (missed.status_code, missed.json()["code"]) == (504, "deadline_exceeded")
    assert "even on an idle replica" not in missed.json()["detail"]
    body = {"prompt": "a", "duration_s": 120}
    await client.post(GENERATIONS, json=body, headers={HEADER: "0.5"})
    leaving = asyncio.create_task(client.post(GENERATIONS, json=body))
    await until(client, lambda s: s["slots_used"] == 1)
    leaving.cancel()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            new = await outcomes(service) - before
            if all(new[name] for name in ENDS):
                return
            await asyncio.sleep(0.5)


@pytest.mark.long
async def test_nor_is_any_with_two_ingresses(changed_service: Service) -> None:
    """Each of them knows only its own callers at first."""
    async with httpx.AsyncClient(base_url=changed_service.url, timeout=PATIENCE_S) as client:
        for _ in range(4):
            await generate(client, prompt="a", duration_s=2)
    answers = await call_at_once(changed_service)
    assert {answer.status_code for answer in answers} == {200, 429}
