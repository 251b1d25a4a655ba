"""Acknowledged delivery: the guard and the app's flow control, over a transport like Serve's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.middleware import flow_control
from serve_app.api.middleware.flow_control import ACK, ACKS_HEADER, WINDOW_BYTES, FlowControl
from serve_app.deployments import delivery
from serve_app.deployments.delivery import Delivery
from serve_app.deployments.proxy_guard import ProxyGuard

BLOCK = 2**18
BLOCKS = 100
FILE = b"".join(bytes([n]) * BLOCK for n in range(BLOCKS))
HEADER = ACKS_HEADER.encode()
PATIENCE_S = 20.0


class Transport:
    """Serve: passes messages of `receive` on to the app, and the app's on to the client.

    acks: acknowledgements so far; waiting: bytes that the app has sent and the client has not been
    sent; most: the most at a time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.acks = 0
        self.waiting = 0
        self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received: asyncio.Queue[Message] = asyncio.Queue()
        sent: asyncio.Queue[Message | None] = asyncio.Queue()
        pump = asyncio.create_task(self._pump(receive, received))
        app = asyncio.ensure_future(self._app(scope, received.get, partial(self._put, sent)))
        app.add_done_callback(lambda _: sent.put_nowait(None))
        while (message := await sent.get()) is not None:
            await send(message)
            self.waiting -= len(message.get("body", b""))
        pump.cancel()
        await app

    async def _pump(self, receive: Receive, received: asyncio.Queue[Message]) -> None:
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await receive()
            self.acks += message["type"] == ACK
            received.put_nowait(message)

    async def _put(self, sent: asyncio.Queue[Message | None], message: Message) -> None:
        self.waiting += len(message.get("body", b""))
        self.most = max(self.most, self.waiting)
        sent.put_nowait(message)


class Client:
    """The server below the guard, with a client that takes `takes` bytes, or all."""

    def __init__(self, body: bytes = b"", takes: float = float("inf")) -> None:
        self._request = [{"type": "http.request", "body": body, "more_body": False}]
        self.takes = takes
        self.moved = asyncio.Event()
        self.gone = asyncio.Event()
        self.headers: list[tuple[bytes, bytes]] = []
        self.content = b""
        self.complete = False

    async def receive(self) -> Message:
        if self._request:
            return self._request.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        while len(self.content) >= self.takes and not self.gone.is_set():
            self.moved.clear()
            await self.moved.wait()
        self.headers += message.get("headers", [])
        self.content += message.get("body", b"")
        self.complete = message["type"] == "http.response.body" and not message.get("more_body")

    def take(self, count: float) -> None:
        self.takes = count
        self.moved.set()

    def leave(self) -> None:
        self.gone.set()
        self.moved.set()


async def call(app: ASGIApp, client: Client) -> None:
    scope = {"type": "http", "headers": [(HEADER, b"of the client")]}
    await asyncio.wait_for(app(scope, client.receive, client.send), PATIENCE_S)


class Blocks:
    """An app that streams FILE, after it has read the request's body. open: not closed yet."""

    def __init__(self) -> None:
        self.open = True
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = await Request(scope, receive).body()
        await StreamingResponse(self._blocks())(scope, receive, send)

    async def _blocks(self) -> AsyncIterator[bytes]:
        try:
            for start in range(0, len(FILE), BLOCK):
                yield FILE[start : start + BLOCK]
        finally:
            self.open = False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - tasks of the transport bring it about
            await asyncio.sleep(0)


@pytest.mark.parametrize("app", [Blocks(), Response(FILE)], ids=["blocks", "at once"])
async def test_an_answer_waits_for_its_client(app: ASGIApp) -> None:
    transport = Transport(FlowControl(app))
    client = Client(takes=BLOCK)
    answer = asyncio.create_task(call(ProxyGuard(transport), client))
    await until(lambda: transport.waiting == WINDOW_BYTES - BLOCK)
    assert not client.complete
    client.take(float("inf"))
    await answer
    assert client.content == FILE
    assert client.complete
    assert transport.most <= WINDOW_BYTES + BLOCK
    assert len(FILE) / WINDOW_BYTES - 1 <= transport.acks <= len(FILE) / 2**20
    assert HEADER not in dict(client.headers)


@pytest.mark.parametrize("length", [0, 10, WINDOW_BYTES])
async def test_a_small_answer_goes_at_once(length: int) -> None:
    transport = Transport(FlowControl(Response(FILE[:length])))
    client = Client(takes=1)
    answer = asyncio.create_task(call(ProxyGuard(transport), client))
    await until(lambda: bool(client.headers) and transport.waiting in (0, length))
    client.take(float("inf"))
    await answer
    assert (client.content, client.complete) == (FILE[:length], True)
    assert transport.acks <= length // 2**20


async def test_a_client_that_goes_away_ends_the_answer() -> None:
    app = Blocks()
    transport = Transport(FlowControl(app))
    client = Client(b"a song", takes=BLOCK)
    answer = asyncio.create_task(call(ProxyGuard(transport), client))
    await until(lambda: transport.waiting == WINDOW_BYTES - BLOCK)
    assert (app.body, app.open) == (b"a song", True)
    client.leave()
    await answer
    assert not client.complete
    await until(lambda: not app.open)


@pytest.mark.parametrize("app", [Blocks(), Response(FILE)], ids=["blocks", "at once"])
async def test_a_client_that_stops_reading_ends_the_answer(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_control, "PATIENCE_S", 0.05)
    ended = asyncio.Event()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await FlowControl(app)(scope, receive, send)
        ended.set()

    client = Client(takes=BLOCK)
    transport = Transport(watched)
    answer = asyncio.create_task(call(ProxyGuard(transport), client))
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert transport.waiting == WINDOW_BYTES - BLOCK
    client.take(float("inf"))
    await answer
    assert not client.complete


async def test_slow_progress_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(delivery, "monotonic", lambda: now)
    client = Client()
    slow = Delivery(client.receive, client.send)
    await slow.receive()
    await slow.send({"type": "http.response.start", "headers": [(HEADER, b"1")]})
    listening = asyncio.create_task(slow.receive())
    for _ in range(2):
        await slow.send({"type": "http.response.body", "body": bytes(2**15), "more_body": True})
    assert not (await asyncio.wait([listening], timeout=0))[0]
    now = 10.0
    await slow.send({"type": "http.response.body", "body": b"a", "more_body": True})
    assert await listening == {"type": ACK, "bytes": 2**16 + 1}
    client.leave()
    assert await slow.receive() == {"type": "http.disconnect"}


async def test_errors_of_the_server_are_raised() -> None:
    async def receive() -> Message:
        raise RuntimeError("The socket is gone")

    with pytest.raises(RuntimeError, match="The socket is gone"):
        await Delivery(receive, Client().send).receive()


async def test_an_app_without_flow_control_gets_no_acknowledgements() -> None:
    transport = Transport(Blocks())
    client = Client()
    await call(ProxyGuard(transport), client)
    assert (client.content, transport.acks) == (FILE, 0)


async def test_without_the_guard_nothing_waits() -> None:
    app = Blocks()
    transport = Transport(FlowControl(app))
    client = Client()
    await transport({"type": "http", "headers": []}, client.receive, client.send)
    assert (client.content, client.headers) == (FILE, [])


async def test_errors_of_the_transport_are_raised_and_end_the_answer() -> None:
    """Serve raises the error of its last call to the proxy once, and then never returns."""
    errors = [RuntimeError("The proxy is gone")]
    seen: list[object] = []

    async def receive() -> Message:
        if errors:
            raise errors.pop()
        return await asyncio.Future()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError, match="The proxy is gone"):
            await receive()
        seen.append(await receive())
        await send({"type": "http.response.body", "body": FILE})

    async def send(message: Message) -> None:
        seen.append(message)

    await FlowControl(app)({"type": "http", "headers": [(HEADER, b"1")]}, receive, send)
    assert seen == [{"type": "http.disconnect"}]
