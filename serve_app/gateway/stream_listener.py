"""A listener of one stream: follows it from a state to its bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import time

from serve_app.errors import DeadlineExceeded, ServeAppError
from serve_app.gateway.stream_run import POLL_S
from serve_app.gateway.streams import StreamPart, Streams, StreamState

_PART_BYTES = 1_048_576


class StreamListener:
    """Reads one stream. deadline: Unix time after which it raises DeadlineExceeded, or None."""

    def __init__(self, streams: Streams, stream_id: str, deadline: float | None = None) -> None:
        self._streams = streams
        self._stream_id = stream_id
        self._deadline = deadline

    async def open(self) -> StreamState:
        """Wait until the file has begun; its track is started if need be. Raises ServeAppError."""
        state = (await self._part(0, 0, None)).state
        while not state.size and not state.complete:
            state = (await self._part(0, 0, state.version)).state
        return state

    async def finish(self, state: StreamState) -> StreamState:
        """Wait until the file is complete. Raises ServeAppError."""
        while not state.complete:
            state = (await self._part(state.size, 0, state.version)).state
        return state

    async def content(
        self, state: StreamState, start: int, stop: int | None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to `stop`; None: to the end. Raises ServeAppError.

        A receiver that pauses counts as listening.
        """
        presence = asyncio.create_task(self._stay_present())
        try:
            while stop is None or start < stop:
                limit = _PART_BYTES if stop is None else min(_PART_BYTES, stop - start)
                part = await self._part(start, limit, state.version)
                if part.content:
                    yield part.content
                elif part.state.complete:
                    return
                start += len(part.content)
        finally:
            presence.cancel()

    async def _part(self, start: int, limit: int, version: int | None) -> StreamPart:
        try:
            async with asyncio.timeout(self._left_s()):
                return await self._streams.advance(self._stream_id, start, limit, version)
        except TimeoutError:
            raise _too_late() from None

    def _left_s(self) -> float | None:
        """Seconds up to the deadline. Raises DeadlineExceeded if there are none."""
        if self._deadline is None:
            return None
        left_s = self._deadline - time()
        if left_s <= 0:
            raise _too_late()
        return left_s

    async def _stay_present(self) -> None:
        """Be heard while the receiver of the bytes takes none."""
        with contextlib.suppress(ServeAppError):
            while True:
                await self._streams.describe(self._stream_id)
                await asyncio.sleep(POLL_S)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The request deadline passed before the stream was finished. Allow more time."
    )
