"""Flow control of answers by acknowledgements, because Serve has no backpressure to its proxy.

Serve takes each message that an app sends at once, and keeps those that its proxy has not fetched
yet in the app's process. `ProxyGuard`, in the proxy, announces acknowledgements in ACKS_HEADER of a
request; an answer that uses them says so in the same header. Then the guard's `receive` also
returns messages of the type ACK, with the number of body bytes that the client has taken since the
last one, and Serve passes them on like every other message of `receive`.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ACKS_HEADER = "x-musicgen-acks"
ACK = "musicgen.ack"
WINDOW_BYTES = 2**22  # sent to the proxy, and not acknowledged
PATIENCE_S = 60.0  # as the edge's, for a client that takes nothing
_PART_BYTES = 2**18
_DISCONNECT = {"type": "http.disconnect"}


class FlowControl:
    """Let the app wait while WINDOW_BYTES of its answer are unacknowledged.

    A client that takes nothing for PATIENCE_S counts as disconnected. Requests without ACKS_HEADER,
    which did not pass the guard, are passed on as they are. It must be the outermost middleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or ACKS_HEADER not in Headers(scope=scope):
            await self._app(scope, receive, send)
            return
        channel = _Channel(receive, send)
        pump = asyncio.create_task(channel.pump())
        try:
            await self._app(scope, channel.receive, channel.send)
        finally:
            pump.cancel()


class _Channel:
    """`receive` and `send` of one request. After a disconnect, what is sent is dropped."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._received: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self._acknowledged = asyncio.Event()
        self._unacknowledged = 0
        self._ended = False

    async def pump(self) -> None:
        """Take in the messages of the request until its client disconnects."""
        while not self._ended:
            try:
                self._take(await self._receive())
            except Exception as error:
                self._end(error)

    def _take(self, message: Message) -> None:
        if message["type"] == ACK:
            self._unacknowledged -= message["bytes"]
            self._acknowledged.set()
        elif message["type"] == "http.disconnect":
            self._end(message)
        else:
            self._received.put_nowait(message)

    def _end(self, reason: Message | Exception) -> None:
        self._ended = True
        self._received.put_nowait(reason)
        self._acknowledged.set()

    async def receive(self) -> Message:
        """Return the next message that is not an ACK. Raises the errors of the server's `receive`."""
        if self._ended and self._received.empty():
            return _DISCONNECT
        message = await self._received.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Message) -> None:
        """Send a message; a body that exceeds the window goes in parts."""
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (ACKS_HEADER.encode(), b"1")]
            message = {**message, "headers": headers}
        body = message.get("body", b"")
        if self._fits(len(body)):
            await self._pass_on(message)
            return
        for start in range(0, len(body), _PART_BYTES):
            part = bytes(body[start : start + _PART_BYTES])
            await self._wait_for_room(len(part))
            more_body = message.get("more_body", False) or start + len(part) < len(body)
            await self._pass_on({**message, "body": part, "more_body": more_body})

    async def _wait_for_room(self, length: int) -> None:
        while not (self._fits(length) or self._ended):
            self._acknowledged.clear()
            try:
                await asyncio.wait_for(self._acknowledged.wait(), PATIENCE_S)
            except TimeoutError:
                self._end(_DISCONNECT)

    def _fits(self, length: int) -> bool:
        return self._unacknowledged + length <= WINDOW_BYTES

    async def _pass_on(self, message: Message) -> None:
        if not self._ended:
            self._unacknowledged += len(message.get("body", b""))
            await self._send(message)
