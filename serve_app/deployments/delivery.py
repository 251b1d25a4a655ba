"""Delivery of one answer to its client, with acknowledgements for `FlowControl` in the app."""

import asyncio
from time import monotonic

from starlette.types import Message, Receive, Send

from serve_app.api.middleware.flow_control import ACK, ACKS_HEADER
from serve_app.deployments.body_window import BodyWindow

_ACKS = ACKS_HEADER.encode()
_ACK_BYTES = 2**20
# A slow client's bytes are acknowledged sooner, to show that it has not stopped.
_SLOW_ACK_BYTES = 2**16
_SLOW_ACK_S = 10.0


class Delivery:
    """`receive` and `send` of one request; acknowledges to an app that has flow control.

    `receive` keeps no more of the request's body in memory than a `BodyWindow`.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = BodyWindow(receive)
        self._send = send
        self._messages: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self._listening: asyncio.Task[None] | None = None
        self._acknowledges = False
        self._delivered = 0  # bytes since the last acknowledgement
        self._acknowledged_at = monotonic()

    async def receive(self) -> Message:
        """Return the client's next message, or the next acknowledgement, whichever comes first.

        Raises the errors of the server's `receive`.
        """
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def _listen(self) -> None:
        message: Message = {"type": ""}
        try:
            while message["type"] != "http.disconnect":
                message = await self._receive()
                self._messages.put_nowait(message)
        except Exception as error:
            self._messages.put_nowait(error)

    async def send(self, message: Message) -> None:
        """Send a message; the server below lets it wait until the client has taken those before."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            kept = [(name, value) for name, value in headers if name.lower() != _ACKS]
            self._acknowledges = len(kept) < len(headers)
            message = {**message, "headers": kept}
        await self._send(message)
        self._delivered += len(message.get("body", b""))
        if self._is_due():
            self._acknowledge()

    def _is_due(self) -> bool:
        if not self._acknowledges or self._delivered < _SLOW_ACK_BYTES:
            return False
        is_late = monotonic() - self._acknowledged_at >= _SLOW_ACK_S
        return is_late or self._delivered >= _ACK_BYTES

    def _acknowledge(self) -> None:
        self._messages.put_nowait({"type": ACK, "bytes": self._delivered})
        self._delivered = 0
        self._acknowledged_at = monotonic()

    def close(self) -> None:
        """Stop listening to the client."""
        if self._listening is not None:
            self._listening.cancel()
