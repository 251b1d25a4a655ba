"""Attacks and careless clients against the running service: the edge keeps them from Serve's proxy."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress

import httpx
import psutil
import pytest

from serve_app.launcher import Service
from tests.conftest import SLOWEST_BODY_S, UPLOAD_MEMORY_BYTES
from tests.service.conftest import GENERATIONS, LONG_S, generate, unfinished, until

MIB = 2**20
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNK = b"100000\r\n" + b"a" * MIB + b"\r\n"
TOO_SLOW = b"HTTP/1.1 408"  # on a machine whose cores are all busy


@asynccontextmanager
async def unharmed(service: Service) -> AsyncIterator[None]:
    """Assert that the processes are the same afterwards, and that none held what it was sent."""
    before = {process: private_bytes(process) for process in on_the_way(service)}
    assert len(before) >= 3, "Serve's proxy, the ingress, the model's replica"
    most = dict(before)
    watching = asyncio.create_task(watch(most))
    yield
    assert not watching.done()
    watching.cancel()
    assert set(on_the_way(service)) >= set(before)
    grown = {process.name(): most[process] - held for process, held in before.items()}
    assert {name: size // MIB for name, size in grown.items() if size > may_hold(name)} == {}


def on_the_way(service: Service) -> list[psutil.Process]:
    """The processes that a request comes through; others of Ray come and go."""
    found = []
    for process in service.processes():
        with suppress(psutil.NoSuchProcess):
            if process.name().startswith(("ray::ProxyActor", "ray::ServeReplica")):
                found.append(process)
    return found


def may_hold(name: str) -> int:
    """Bytes by which a process may grow: the windows of eight bodies, and in the ingress the bodies."""
    return UPLOAD_MEMORY_BYTES + 64 * MIB if "Ingress" in name else 32 * MIB


def private_bytes(process: psutil.Process) -> int:
    """Memory of a process without what it shares: Ray's object store."""
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


async def watch(most: dict[psutil.Process, int]) -> None:
    """Keep the most memory that each process has had."""
    while True:
        for process, held in most.items():
            most[process] = max(held, private_bytes(process))
        await asyncio.sleep(0.02)


async def closed_by_the_service(service: Service, parts: Iterator[bytes]) -> bytes:
    """Send until the service ends the connection; return the beginning of its answer."""
    reader, writer = await asyncio.open_connection(*service.address)
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    answer = b""
    with suppress(ConnectionError):
        answer = await reader.read(12)
    writer.close()
    return answer


def endless(start: bytes, part: bytes, size: int = 200 * MIB) -> Iterator[bytes]:
    yield start
    for _ in range(size // len(part)):
        yield part


@pytest.mark.parametrize(
    "start", [b"GET /", b"GET / HTTP/1.1\r\nx: "], ids=["endless URL", "endless header"]
)
async def test_endless_requests_are_cut_off(
    service: Service, client: httpx.AsyncClient, start: bytes
) -> None:
    async with unharmed(service):
        answer = await closed_by_the_service(service, endless(start, b"a" * MIB))
        assert answer in {b"HTTP/1.1 400", b""}
        await generate(client, prompt="a", duration_s=0.5)


@pytest.mark.parametrize("framing", [b"content-length: 314572800", b"transfer-encoding: chunked"])
async def test_a_body_of_300_mib_is_cut_off(
    service: Service, client: httpx.AsyncClient, framing: bytes
) -> None:
    head = HEAD + framing + b"\r\n\r\n"
    part = CHUNK if b"chunked" in framing else b"a" * MIB
    async with unharmed(service):
        answer = await closed_by_the_service(service, endless(head, part, 300 * MIB))
        assert answer in {b"HTTP/1.1 413", TOO_SLOW, b""}
        await generate(client, prompt="a", duration_s=0.5)


async def test_bodies_of_800_mib_at_once_are_cut_off(
    service: Service, client: httpx.AsyncClient
) -> None:
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    async with unharmed(service):
        attacks = [endless(head, CHUNK, 100 * MIB) for _ in range(8)]
        answers = await asyncio.gather(*(closed_by_the_service(service, one) for one in attacks))
        assert set(answers) <= {b"HTTP/1.1 413", b"HTTP/1.1 429", TOO_SLOW, b""}
        await generate(client, prompt="a", duration_s=0.5)


async def test_a_body_beyond_the_limit_is_a_problem_that_pages_can_read(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/v1/audio/conversions", content=bytes(16 * MIB + 1))
    assert response.status_code == 413
    assert response.json()["code"] == "payload_too_large"
    assert response.headers["access-control-allow-origin"] == "*"


async def test_half_bodies_keep_nobody_waiting(service: Service, client: httpx.AsyncClient) -> None:
    """More of them than requests that the ingress takes; each ends with a problem."""
    half = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc"
    readers = []
    async with AsyncExitStack() as stack:
        for _ in range(1100):
            reader, writer = await asyncio.open_connection(*service.address)
            stack.callback(writer.close)
            writer.write(half)
            readers.append(reader)
        assert (await client.get("/health")).status_code == 200
        await generate(client, prompt="a", duration_s=0.5)
        answers = await asyncio.gather(*(reader.read() for reader in readers))
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
    assert json.loads(answers[0].partition(b"\r\n\r\n")[2])["detail"] == (
        f"The body must arrive within {SLOWEST_BODY_S} s."
    )


async def test_half_headers_keep_nobody_waiting(
    service: Service, client: httpx.AsyncClient
) -> None:
    with ExitStack() as stack:
        for _ in range(1100):
            connection = stack.enter_context(socket.create_connection(service.address))
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        await generate(client, prompt="a", duration_s=0.5)


async def test_a_deadline_is_answered_in_the_services_words(client: httpx.AsyncClient) -> None:
    """Serve's proxy would answer its own header in plain text."""
    for header in ("x-musicgen-timeout-seconds", "x-request-timeout-seconds"):
        body = {"prompt": "a", "duration_s": 30}
        response = await client.post(GENERATIONS, json=body, headers={header: "0.3"})
        assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


async def test_no_header_keeps_a_request_running_without_its_client(
    client: httpx.AsyncClient,
) -> None:
    headers = {"x-request-disconnect-disabled": "?1"}
    body = {"prompt": "a", "duration_s": LONG_S}
    async with unfinished(client, LONG_S):
        request = asyncio.create_task(client.post(GENERATIONS, json=body, headers=headers))
        await until(client, lambda s: s["slots_used"] == 1)
        request.cancel()


def test_serves_proxy_is_on_the_loopback_interface(service: Service) -> None:
    pids = {process.pid for process in service.processes()}
    listening = [
        connection.laddr
        for connection in psutil.net_connections("tcp")
        if connection.pid in pids and connection.laddr and connection.status == psutil.CONN_LISTEN
    ]
    assert [address.ip for address in listening if address.port == service.upstream.port] == [
        "127.0.0.1"
    ]


async def test_a_prompt_in_any_script_fits_into_a_url(client: httpx.AsyncClient) -> None:
    """The longest prompt that is taken: 2,000 characters of four bytes."""
    query = {"prompt": "\N{MUSICAL SYMBOL G CLEF}" * 2000, "duration_s": "0.5"}
    response = await client.get("/v1/audio/stream", params=query, follow_redirects=True)
    assert response.status_code in {200, 400}
    assert response.headers["content-type"] != "text/html"
