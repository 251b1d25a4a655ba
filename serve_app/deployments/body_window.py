"""Bound on what a server holds of one request's body."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.types import Message, Receive

WINDOW_BYTES = 2**20


class BodyWindow:
    """The `receive` of one request, which waits while WINDOW_BYTES of its body are in memory.

    Serve's proxy reads a body as fast as its client sends it, and queues the messages for the app.
    This `receive` counts the messages that still exist: a message is deleted once it was sent to
    the app. The server below stops reading from a connection whose `receive` is not called.

    Behind Serve's HAProxy the app takes the messages themselves, in a thread of its own.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._held_bytes = 0
        self._deleted = asyncio.Event()

    async def __call__(self) -> Message:
        """Return the next message. Raises the errors of the server's `receive`."""
        while self._held_bytes >= WINDOW_BYTES:
            self._deleted.clear()
            await self._deleted.wait()
        message = await self._receive()
        loop = asyncio.get_running_loop()
        length = len(message.get("body", b""))
        self._held_bytes += length
        if not length:
            return message
        return _Counted(message, partial(_call_in, loop, partial(self._forget, length)))

    def _forget(self, length: int) -> None:
        self._held_bytes -= length
        self._deleted.set()


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call a function in a loop, from any thread. A loop that is closed has nothing that waits."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


class _Counted(dict[str, Any]):
    """A message that reports its deletion. Pickled as a plain dictionary."""

    def __init__(self, message: Message, deleted: Callable[[], None]) -> None:
        super().__init__(message)
        self._deleted = deleted

    def __del__(self) -> None:
        self._deleted()

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)
