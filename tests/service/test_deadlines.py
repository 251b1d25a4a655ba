"""Deadlines of the running service: what would be late is refused at once, and nothing else is cut off."""

import asyncio
import secrets
from collections import Counter

import httpx
import pytest

from serve_app.launcher import Service
from tests.replica_logs import logged
from tests.service.conftest import (
    FRAME_RATE,
    GENERATIONS,
    LONG_S,
    PATIENCE_S,
    generate,
    idle_steps,
    suspended,
    until,
)
from tests.service.metrics import samples

HEADER = "x-musicgen-timeout-seconds"
CALLERS = 100
DURATION_S = 3
BODY = {"prompt": "a", "duration_s": DURATION_S}
LONG = {"prompt": "a", "duration_s": LONG_S}
MARGIN = 1.5  # of the estimate by which requests are admitted
SLOTS = 4
ROOM = 1.25  # by which steps may become slower before a track of twice its time is late
ROUNDS = 4  # other tests share the cores: a round may be made slower than the one before
SHORT = {"prompt": "a", "duration_s": 0.5}
ENDS = ("deadline_exceeded", "deadline_unattainable", "request_aborted")


async def music_s(client: httpx.AsyncClient, pace: str, duration_s: float) -> float:
    """Seconds that the slowest replica takes for music at one of its paces."""
    async with asyncio.timeout(PATIENCE_S):
        while not (replicas := (await client.get("/stats")).json()["models"]["nano"]):
            pass
    step_s = max(float(replica[pace]) for replica in replicas)
    return duration_s * FRAME_RATE * step_s


async def fair_s(client: httpx.AsyncClient) -> float:
    """A deadline that some of CALLERS meet."""
    return max(8.0, 8 * await music_s(client, "full_pace_s", DURATION_S))


async def unattainable_s(client: httpx.AsyncClient) -> float:
    """A deadline that no replica meets with LONG."""
    return await music_s(client, "lone_pace_s", LONG_S) / 3


async def full_rate(client: httpx.AsyncClient) -> float:
    """Seconds of music per second of full batches, as the replicas have measured it."""
    second_s = await music_s(client, "full_pace_s", 1)
    replicas = (await client.get("/stats")).json()["models"]["nano"]
    return float(sum(replica["slots"] for replica in replicas) / second_s)


async def call_at_once(url: str, timeout_s: float) -> list[httpx.Response]:
    """Let CALLERS ask at once for more music than can be made within `timeout_s`."""
    limits = httpx.Limits(max_connections=CALLERS)
    headers = {HEADER: str(timeout_s)}
    async with httpx.AsyncClient(
        base_url=url, timeout=timeout_s + PATIENCE_S, limits=limits, headers=headers
    ) as callers:
        calls = [callers.post(GENERATIONS, json=BODY) for _ in range(CALLERS)]
        return await asyncio.gather(*calls)


async def refused_at_once(client: httpx.AsyncClient) -> list[httpx.Response]:
    """Let callers ask until, of those of one round, none is cut off; return the refusals.

    Somebody may be cut off only where the machine has become slower than the margin of the estimate.
    """
    for _ in range(ROUNDS):
        timeout_s, rate = await fair_s(client), await full_rate(client)
        answers = await call_at_once(str(client.base_url), timeout_s)
        statuses = Counter(answer.status_code for answer in answers)
        if not statuses[504]:
            break
        assert statuses[200] * DURATION_S / timeout_s < rate / MARGIN, (statuses, timeout_s, rate)
    assert set(statuses) == {200, 429}
    return [answer for answer in answers if answer.status_code == 429]


async def outcomes(service: Service) -> Counter[str]:
    """Ended requests by their outcome."""
    found: Counter[str] = Counter()
    for sample in await samples(service, "musicgen_requests_total"):
        found[sample.labels["outcome"]] += int(sample.value)
    return found


async def test_of_a_hundred_callers_none_is_admitted_and_then_cut_off(
    client: httpx.AsyncClient,
) -> None:
    await generate(client, prompt="a", duration_s=2)
    refused = await refused_at_once(client)
    assert {answer.json()["code"] for answer in refused} == {"queue_full"}
    timeout_s = await fair_s(client)
    assert 1 <= int(refused[0].headers["retry-after"]) <= 4 * timeout_s
    await until(client, lambda s: s["slots_used"] == 0)
    again = await client.post(GENERATIONS, json=BODY, headers={HEADER: str(timeout_s)})
    assert again.status_code == 200


@pytest.mark.long
async def test_after_retry_after_the_request_is_in_time(client: httpx.AsyncClient) -> None:
    """It may be late again only where the machine has become slower than the deadline has room for."""
    await generate(client, prompt="a", duration_s=2)
    for _ in range(ROUNDS):
        rate = await full_rate(client)
        again, fastest = await after_retry_after(client)
        if again.status_code == 200:
            break
        assert min(fastest, await full_rate(client)) < rate / ROOM, (fastest, rate)
    assert again.status_code == 200


async def after_retry_after(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
    """Ask again after Retry-After; return the answer, and the most music that was made per second.

    Of five rounds of tracks for all slots, one is made and four wait. Tracks that still run count.
    """
    headers = {HEADER: str(2 * await music_s(client, "full_pace_s", DURATION_S) + 1)}
    async with asyncio.TaskGroup() as group:
        tracks = [group.create_task(client.post(GENERATIONS, json=BODY)) for _ in range(5 * SLOTS)]
        await until(client, lambda s: s["slots_used"] == SLOTS)
        refused = await client.post(GENERATIONS, json=BODY, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
        wait_s = int(refused.headers["retry-after"])
        await asyncio.sleep(wait_s)
        made = sum(track.done() for track in tracks) + SLOTS
        again = await client.post(GENERATIONS, json=BODY, headers=headers)
    return again, made * DURATION_S / wait_s


async def test_a_track_that_no_replica_could_finish_is_refused_at_once(
    client: httpx.AsyncClient,
) -> None:
    await generate(client, prompt="a", duration_s=2)
    before = await idle_steps(client)
    headers = {HEADER: str(await unattainable_s(client))}
    answer = await client.post(GENERATIONS, json=LONG, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "even on an idle replica" in answer.json()["detail"]
    assert "retry-after" not in answer.headers
    assert await idle_steps(client) == before


async def test_a_players_stream_is_refused_at_once_too(client: httpx.AsyncClient) -> None:
    """By the time that its caller allowed, of which its first fetch finds too little left."""
    await generate(client, prompt="a", duration_s=2)
    before = await idle_steps(client)
    headers = {HEADER: str(await unattainable_s(client))}
    path = f"/v1/audio/stream?prompt=a&duration_s={LONG_S}"
    redirect = await client.get(path, headers=headers)
    assert (redirect.status_code, redirect.is_redirect) == (303, True)
    answer = await client.get(f"/v1/audio/{redirect.headers['location']}")
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert await idle_steps(client) == before


@pytest.mark.long
async def test_missed_deadlines_and_clients_that_leave_are_counted_and_logged_apart(
    service: Service, client: httpx.AsyncClient
) -> None:
    """And so are deadlines that no replica could meet: those are refused, not missed."""
    await generate(client, prompt="a", duration_s=2)
    before = await outcomes(service)
    ids = {name: f"{name}-{secrets.token_hex(4)}" for name in ENDS}
    exceeded, unattainable, aborted = ({"x-request-id": one} for one in ids.values())
    with suspended(service):
        missed = await client.post(GENERATIONS, json=SHORT, headers={HEADER: "3"} | exceeded)
    assert (missed.status_code, missed.json()["code"]) == (504, "deadline_exceeded")
    assert "even on an idle replica" not in missed.json()["detail"]
    headers = {HEADER: str(await unattainable_s(client))} | unattainable
    await client.post(GENERATIONS, json=LONG, headers=headers)
    leaving = asyncio.create_task(client.post(GENERATIONS, json=LONG, headers=aborted))
    await until(client, lambda s: s["slots_used"] == 1)
    leaving.cancel()
    waited_for = set(ENDS)
    async with asyncio.timeout(2 * PATIENCE_S):
        while waited_for:
            counted = await outcomes(service) - before
            waited_for -= {
                name
                for name in waited_for
                if counted[name] and name in logged_outcomes(service, ids[name])
            }
            await asyncio.sleep(0.5)


def logged_outcomes(service: Service, request_id: str) -> set[str]:
    """Outcomes that the logs tell of one request."""
    return {line["outcome"] for line in logged(service, request_id) if "outcome" in line}


@pytest.mark.long
async def test_nor_is_any_with_two_ingresses(changed_service: Service) -> None:
    """Each of them knows only its own callers at first."""
    async with httpx.AsyncClient(base_url=changed_service.url, timeout=PATIENCE_S) as client:
        for _ in range(4):
            await generate(client, prompt="a", duration_s=2)
        assert await refused_at_once(client)
