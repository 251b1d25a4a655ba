"""The deadline of a body."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.app import create_api
from serve_app.api.middleware import body_deadline
from serve_app.api.middleware.body_deadline import MIN_BYTES_PER_S, BodyDeadline
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, Clock, FakeGenerator

PATH = "/v1/audio/generations"


@pytest.mark.parametrize("path", [PATH, "/", "/models/facebook/musicgen-small"])
async def test_a_body_that_never_ends_is_408(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is 50 ms away whenever the clock is read."""
    monkeypatch.setattr(body_deadline, "monotonic", Clock())

    async def half() -> AsyncIterator[bytes]:
        yield b'{"p'
        await asyncio.Event().wait()

    generator = FakeGenerator()
    api = create_api(generator, generator, [SMALL], None, ApiConfig(body_timeout_s=0.05))
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post(path, content=half())
    assert (response.status_code, response.json()["code"]) == (408, "request_timeout")
    assert response.headers["connection"] == "close"
    assert "3 bytes had arrived" in response.json()["detail"]
    assert generator.requests == []


async def test_a_steady_body_and_a_complete_one_have_no_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each part takes a second; the route takes longer."""
    now = 0.0
    monkeypatch.setattr(body_deadline, "monotonic", lambda: now)
    received: list[Message] = []

    async def receive() -> Message:
        nonlocal now
        now += 1.0 if len(received) < 10 else 1000.0
        part = {"type": "http.request", "body": bytes(MIN_BYTES_PER_S)}
        return part | {"more_body": len(received) < 9}

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        for _ in range(12):
            received.append(await receive())

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope: dict[str, Any] = {"type": "http"}
    await BodyDeadline(app, timeout_s=2.0)(scope, receive, send)
    assert len(received) == 12


async def test_a_body_that_has_arrived_is_taken_however_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process stands still before it reads the first part."""
    clock = Clock()
    monkeypatch.setattr(body_deadline, "monotonic", clock)
    arrived = [b"b", b"a"]
    received: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": arrived.pop(), "more_body": bool(arrived)}

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        clock.now += 1000
        received.extend([await receive(), await receive()])

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await BodyDeadline(app, timeout_s=2.0)({"type": "http"}, receive, send)
    assert [message["body"] for message in received] == [b"a", b"b"]
