"""Deadline for receiving a request's body."""

import asyncio
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.error_handlers import problem
from serve_app.errors import RequestTimeout

MIN_BYTES_PER_S = 16_384  # a body at this rate has no deadline


class BodyDeadline:
    """Answer 408 to a body that takes longer than `timeout_s`, plus the time at MIN_BYTES_PER_S.

    The connection is closed then. A body that is complete has no deadline any more, and what has
    arrived is taken, however late the process comes to it.
    """

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, _TimedBody(receive, self._timeout_s), send)
        except RequestTimeout as error:
            await problem(error, headers={"connection": "close"})(scope, receive, send)


class _TimedBody:
    """The `receive` of one request. Raises RequestTimeout while the body is incomplete."""

    def __init__(self, receive: Receive, timeout_s: float) -> None:
        self._receive = receive
        self._deadline = monotonic() + timeout_s
        self._length = 0
        self._complete = False

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        message = await self._next()
        self._count(message)
        return message

    async def _next(self) -> Message:
        receiving = asyncio.ensure_future(self._receive())
        try:
            # `wait_for` would not even look at a message that is there.
            await asyncio.wait([receiving], timeout=max(0.0, self._deadline - monotonic()))
            if receiving.done():
                return receiving.result()
        finally:
            receiving.cancel()
        raise RequestTimeout(
            f"The request's body was not complete in time: {self._length} bytes had arrived. "
            "Send the whole body at once."
        )

    def _count(self, message: Message) -> None:
        length = len(message.get("body", b""))
        self._length += length
        self._deadline += length / MIN_BYTES_PER_S
        self._complete = not message.get("more_body", False)
