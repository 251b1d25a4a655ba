"""The service with more callers than it serves: its state stays visible, its ingress alive."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from serve_app.launcher import Service
from tests.service.conftest import (
    GENERATIONS,
    KEY,
    PATIENCE_S,
    PREFIX,
    PREFIXED_LINE,
    deployment,
    until,
)
from tests.service.metrics import samples

STREAMS = 8  # on 4 slots, and 5 requests that a replica holds
STREAM_S = 60  # of music: all of it in less than the deadline of a request that waits behind
SETTLED_S = 2.0  # by which a request that nothing holds back would be answered


def is_full(replica: dict[str, Any]) -> bool:
    return (replica["slots_used"], replica["queued_requests"]) == (4, 1)


@contextlib.asynccontextmanager
async def saturated(client: httpx.AsyncClient) -> AsyncIterator[None]:
    """Let STREAMS callers ask for STREAM_S of music until the block ends."""
    body = {"prompt": "a", "duration_s": STREAM_S}
    callers = [asyncio.create_task(client.post(GENERATIONS, json=body)) for _ in range(STREAMS)]
    try:
        await until(client, is_full)
        yield
    finally:
        for caller in callers:
            caller.cancel()
        await until(client, lambda s: s["slots_used"] == 0)


async def test_a_saturated_replica_stays_visible(client: httpx.AsyncClient) -> None:
    async with saturated(client):
        for _ in range(20):
            await until(client, is_full)
            health = await client.get("/health")
            assert (health.status_code, health.json()["model_loaded"]) == (200, True)
        assert (await client.get("/stats")).json()["model_loaded"] is True


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
        assert not (await asyncio.wait({call}, timeout=SETTLED_S))[0], "it waits"
    response = await call
    assert response.status_code == 200


SOCKETS = 1050  # more than the 1,000 requests that the ingress accepts
WAVE = 150  # fewer than wait in the proxy, in the one queue of all paths
BODY_TIMEOUT_S = 10.0


@pytest.fixture
async def direct(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Client of Serve's proxy, past the edge, which would not let so many requests through."""
    async with httpx.AsyncClient(
        base_url=f"http://{service.upstream}", timeout=PATIENCE_S
    ) as client:
        yield client


async def ingress_pids(service: Service) -> list[int]:
    """Process ids of the ingress's replicas that Serve lists."""
    return [replica["pid"] for replica in (await deployment(service, "Ingress"))["replicas"]]


class Socket:
    """A connection that posts a generation, with as much of its body as is asked for."""

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        self._address = urlsplit(url)
        self._content = json.dumps(body).encode()
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, length: int | None = None) -> int:
        """Send the head and `length` bytes of the body; return the answer's status."""
        host = str(self._address.hostname)
        reader, self._writer = await asyncio.open_connection(host, self._address.port)
        head = (
            f"POST {GENERATIONS} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self._content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + self._content[:length])
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


async def send_all(
    direct: httpx.AsyncClient, sockets: list[Socket], length: int | None = None
) -> list[asyncio.Task[int]]:
    """Send all requests, the next wave once the proxy has passed on the one before."""
    calls = []
    for start in range(0, len(sockets), WAVE):
        wave = sockets[start : start + WAVE]
        calls += [asyncio.create_task(socket.send(length)) for socket in wave]
        assert (await direct.get("/health/live")).status_code == 200
    return calls


async def refusals(service: Service) -> float:
    """Requests that ingress replicas have refused unread."""
    return sum(sample.value for sample in await samples(service, "musicgen_overloaded_total"))


@pytest.mark.long
async def test_a_thousand_half_bodies_do_not_take_the_ingress_down(
    service: Service, direct: httpx.AsyncClient
) -> None:
    before = await ingress_pids(service)
    refused_before = await refusals(service)
    sockets = [Socket(f"http://{service.upstream}", {"prompt": "a"}) for _ in range(SOCKETS)]
    started_at = monotonic()
    calls = await send_all(direct, sockets, length=3)
    all_at_once = monotonic() - started_at < BODY_TIMEOUT_S / 2
    async with asyncio.timeout(2 * PATIENCE_S):
        while not all(call.done() for call in calls):
            assert (await direct.get("/health/live")).status_code == 200
            assert (await direct.get("/health")).status_code == 200
            await asyncio.wait(calls, timeout=0.2)
    statuses = {call.result() for call in calls}
    assert statuses == {408, 429} if all_at_once else statuses <= {408, 429}
    async with asyncio.timeout(PATIENCE_S):
        while 429 in statuses and await refusals(service) <= refused_before:
            pass
    response = await direct.post(GENERATIONS, json={"prompt": "a", "duration_s": 0.5})
    assert response.status_code == 200
    for socket in sockets:
        socket.close()
    assert await ingress_pids(service) == before


@pytest.mark.long
async def test_a_thousand_waiting_callers_are_served_or_refused(
    service: Service, direct: httpx.AsyncClient
) -> None:
    before = await ingress_pids(service)
    sockets = [
        Socket(f"http://{service.upstream}", {"prompt": "a", "duration_s": 0.1})
        for _ in range(SOCKETS)
    ]
    calls = await send_all(direct, sockets)
    async with asyncio.timeout(2 * PATIENCE_S):
        while not all(call.done() for call in calls):
            assert (await direct.get("/health/live")).status_code == 200
            await asyncio.wait(calls, timeout=0.2)
    statuses = Counter(call.result() for call in calls)
    assert set(statuses) <= {200, 429}
    assert statuses[200] > 200, "the replica's, and the queue's"
    for socket in sockets:
        socket.close()
    assert await ingress_pids(service) == before


@pytest.mark.long
async def test_beyond_the_line_for_an_ingress_callers_are_refused(changed_service: Service) -> None:
    """Its only replica dies, and some wait for the next one. Serve's own words are not the answer."""
    [killed] = [one for one in changed_service.processes() if "prefixed:Ingress" in one.name()]
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(
        base_url=changed_service.url, timeout=2 * PATIENCE_S, headers=headers
    ) as callers:
        killed.kill()
        calls: list[asyncio.Task[httpx.Response]] = []
        async with asyncio.timeout(2 * PATIENCE_S):
            while not any(call.done() for call in calls):
                models = [callers.get(f"{PREFIX}/v1/models") for _ in range(PREFIXED_LINE)]
                calls += map(asyncio.create_task, models)
                await asyncio.sleep(0.05)
        answers = await asyncio.gather(*calls)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) - len(refused) >= PREFIXED_LINE, "they waited"
    for answer in refused:
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "overloaded"
    assert refused
