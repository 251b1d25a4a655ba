"""Delivery of one answer to its client, with acknowledgements for `FlowControl` in the app."""

import asyncio
from time import monotonic
from typing import Any

from starlette.types import Message, Receive, Send

from serve_app.api.middleware.flow_control import ACK, ACKS_HEADER

_ACKS = ACKS_HEADER.encode()
_ACK_BYTES = 2**20
# A slow client's bytes are acknowledged sooner, to show that it has not stopped.
_SLOW_ACK_BYTES = 2**16
_SLOW_ACK_S = 10.0


class Delivery:
    """`receive` and `send` of one request; acknowledges to an app that has flow control."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._request: asyncio.Task[Message] | None = None  # the client's next message
        self._due: asyncio.Future[None] | None = None  # done once an acknowledgement is due
        self._acknowledges = False
        self._delivered = 0  # bytes since the last acknowledgement
        self._acknowledged_at = monotonic()

    async def receive(self) -> Message:
        """Return the client's next message, or an acknowledgement once one is due."""
        if self._is_due():
            return self._acknowledge()
        if self._request is None:
            self._request = asyncio.create_task(_message(self._receive))
        self._due = asyncio.get_running_loop().create_future()
        first: tuple[asyncio.Future[Any], ...] = (self._request, self._due)
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not self._request.done():
            return self._acknowledge()
        message = self._request.result()
        self._request = None
        return message

    async def send(self, message: Message) -> None:
        """Send a message; the server below lets it wait until the client has taken those before."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            kept = [(name, value) for name, value in headers if name.lower() != _ACKS]
            self._acknowledges = len(kept) < len(headers)
            message = {**message, "headers": kept}
        await self._send(message)
        self._delivered += len(message.get("body", b""))
        if self._is_due() and self._due is not None and not self._due.done():
            self._due.set_result(None)

    def _is_due(self) -> bool:
        if not self._acknowledges or self._delivered < _SLOW_ACK_BYTES:
            return False
        is_late = monotonic() - self._acknowledged_at >= _SLOW_ACK_S
        return is_late or self._delivered >= _ACK_BYTES

    def _acknowledge(self) -> Message:
        message = {"type": ACK, "bytes": self._delivered}
        self._delivered = 0
        self._acknowledged_at = monotonic()
        return message

    def close(self) -> None:
        """Stop listening to the client."""
        if self._request is not None:
            self._request.cancel()


async def _message(receive: Receive) -> Message:
    return await receive()
