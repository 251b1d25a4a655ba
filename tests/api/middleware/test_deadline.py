"""The deadline that a client sets in a header."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from time import time

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.gateway import deadlines, stream_listener
from serve_app.gateway.server_facts import AloneServer
from serve_app.types import GenerationRequest, StreamItem
from tests.fakes import SMALL, Clock, FakeGenerator

PATH = "/v1/audio/generations"
HEADER = "x-musicgen-timeout-seconds"
SERVES_HEADER = "x-request-timeout-seconds"


class Stalling(FakeGenerator):
    """Never goes on after its first item, if it stalls: 50 ms before the deadline by its clock."""

    stalls = False

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async with contextlib.aclosing(super().generate(request)) as items:
            async for item in items:
                if self.stalls:
                    assert request.deadline is not None
                    self._clock.now = request.deadline - 0.05
                yield item
                if self.stalls:
                    await asyncio.Event().wait()


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Stalling:
    clock = Clock()
    clock.now = time()
    monkeypatch.setattr(deadlines, "time", clock)
    return Stalling(clock)


@pytest.mark.parametrize(
    ("path", "body", "header"),
    [
        (PATH, {"prompt": "a"}, HEADER),
        (PATH, {"prompt": "a"}, SERVES_HEADER),
        (PATH, {"prompt": "a"}, "prefer"),
        ("/", {"prompt": "a"}, HEADER),
        ("/models/x/small", {"inputs": "a"}, HEADER),
    ],
)
async def test_a_late_request_is_aborted(
    client: httpx.AsyncClient, generator: Stalling, path: str, body: dict[str, str], header: str
) -> None:
    generator.stalls = True
    async with asyncio.timeout(60):
        value = "wait=3600" if header == "prefer" else "3600"
        response = await client.post(path, json=body, headers={header: value})
    assert response.status_code == 504
    assert generator.closed == 1
    assert "The request deadline passed before the track was finished" in response.text


async def test_a_late_stream_ends_with_an_event(
    client: httpx.AsyncClient, generator: Stalling
) -> None:
    generator.stalls = True
    body = {"prompt": "a", "stream": True, "stream_format": "sse"}
    async with asyncio.timeout(60):
        response = await client.post(PATH, json=body, headers={HEADER: "3600"})
    assert response.status_code == 200
    assert "deadline_exceeded" in response.text.rstrip().rpartition("event: ")[2]
    assert generator.closed == 1


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "soon", ""])
async def test_an_invalid_timeout_is_refused(
    client: httpx.AsyncClient, generator: Stalling, text: str
) -> None:
    response = await client.post(PATH, json={"prompt": "a"}, headers={HEADER: text})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert HEADER in response.json()["detail"]
    assert generator.requests == []


async def test_the_deadline_travels_in_the_request(
    client: httpx.AsyncClient, generator: Stalling
) -> None:
    body = {"prompt": "a", "duration_s": 1}
    before = time()
    for headers in ({HEADER: "1000"}, {}):
        assert (await client.post(PATH, json=body, headers=headers)).status_code == 200
    given, without = generator.requests
    assert given.deadline is not None
    assert before + 1000 <= given.deadline <= time() + 1000
    assert without.deadline is None


async def test_a_preference_to_wait_is_a_deadline_too(
    client: httpx.AsyncClient, generator: Stalling
) -> None:
    """The sooner one counts."""
    body = {"prompt": "a", "duration_s": 1}
    for headers in (
        {"prefer": "wait=200, handling=lenient"},
        {"prefer": "wait=200", HEADER: "1000"},
        {"prefer": "wait=1000", HEADER: "200"},
    ):
        response = await client.post(PATH, json=body, headers=headers)
        wait = headers["prefer"].partition(",")[0]
        assert (response.status_code, response.headers["preference-applied"]) == (200, wait)
        assert "x-musicgen-ignored" not in response.headers
        deadline = generator.requests[-1].deadline
        assert deadline is not None
        assert deadline == pytest.approx(time() + 200, abs=60)
    response = await client.post(PATH, json=body, headers={"prefer": "wait=999999999"})
    assert response.headers["preference-applied"] == "wait=3600"


class Serve(AloneServer):
    """A server that cuts off answers after 1000 s."""

    def limit_s(self) -> float:
        return 1000.0


@pytest.mark.parametrize(
    ("headers", "left_s"), [({}, 998.0), ({HEADER: "200"}, 200.0), ({HEADER: "3600"}, 998.0)]
)
async def test_the_servers_limit_is_a_deadline_too(headers: dict[str, str], left_s: float) -> None:
    generator = FakeGenerator()
    app = create_api(generator, generator, [SMALL], "small", ApiConfig(), server=Serve())
    transport = httpx.ASGITransport(app)
    before = time()
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await client.post(PATH, json={"prompt": "a"}, headers=headers)
    assert response.status_code == 200
    [request] = generator.requests
    assert request.deadline is not None
    assert before + left_s <= request.deadline <= time() + left_s


@pytest.mark.parametrize(
    ("headers", "left_s"), [({}, 998.0), ({HEADER: "200"}, 200.0), ({HEADER: "3600"}, 998.0)]
)
async def test_a_stream_has_the_servers_limit_from_its_first_fetch_on(
    headers: dict[str, str], left_s: float
) -> None:
    generator = FakeGenerator()
    app = create_api(generator, generator, [SMALL], "small", ApiConfig(), server=Serve())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        asked_at = time()
        redirect = await client.get("/v1/audio/stream?prompt=a", headers=headers)
        assert redirect.next_request is not None
        fetched_at = time()
        assert (await client.get(redirect.next_request.url)).status_code == 200
    [request] = generator.requests
    assert request.deadline is not None
    start = asked_at if left_s == 200.0 else fetched_at  # a caller's deadline is its request's
    assert start + left_s <= request.deadline <= time() + left_s


async def test_a_fetch_has_the_servers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A track that does not begin by then is answered in our words, not Serve's."""
    generator = FakeGenerator()
    app = create_api(generator, generator, [SMALL], "small", ApiConfig(), server=Serve())
    transport = httpx.ASGITransport(app)
    clock = Clock()
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        redirect = await client.get("/v1/audio/stream?prompt=a")
        assert redirect.next_request is not None
        monkeypatch.setattr(stream_listener, "time", clock)
        clock.now = time() + 999.0
        response = await client.get(redirect.next_request.url)
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
