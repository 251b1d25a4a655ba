"""One run of a stream: the making of its file, which listeners may leave for a while."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextvars import Context
from time import monotonic

import opentelemetry.context

from serve_app.errors import GenerationFailed, RequestAborted
from serve_app.gateway.streams import StreamPart, StreamSource, StreamState
from serve_app.gateway.track import LiveTrack
from serve_app.types import AudioChunk

logger = logging.getLogger(__name__)

POLL_S = 2.0  # for which a listener waits at most for the next bytes
_HEADERS_BYTES = 65_536  # most of a file that is not audio: tags and container
_RESAMPLED_HZ = 48_000


class StreamRun:
    """Makes the file of `source`, from the time it is created.

    grace_s: seconds without a listener after which it is aborted;
    reserve: called with the most bytes that the file may take, before it takes them, and with its
    length in the end; may raise, which ends the run.
    """

    def __init__(
        self,
        source: StreamSource,
        version: int,
        grace_s: float,
        reserve: Callable[[int], None],
    ) -> None:
        self._source = source
        self._version = version
        self._grace_s = grace_s
        self._reserve = reserve
        self._content = bytearray()
        self._total: int | None = None
        self._facts: dict[str, object] = {}
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._heard_at = monotonic()
        self._task = asyncio.create_task(self._run(), context=_own_context())

    @property
    def running(self) -> bool:
        return not self._task.done()

    @property
    def begun(self) -> bool:
        """Whether its track has begun; a refused one, such as by a full queue, has not."""
        return bool(self._facts)

    @property
    def failed(self) -> bool:
        return self._error is not None

    def hear(self) -> None:
        """Count as heard, so that the run goes on for another `grace_s`."""
        self._heard_at = monotonic()

    def state(self) -> StreamState:
        return StreamState(
            media_type=self._source.encoding.file_format.media_type,
            version=self._version,
            facts=self._facts,
            size=len(self._content),
            total=self._total,
            complete=not self.running and not self.failed,
        )

    async def part(self, start: int, limit: int) -> StreamPart:
        """Return at most `limit` bytes from `start` on, once there is one, or none after POLL_S.

        Raises the error that ended the run.
        """
        self.hear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                while len(self._content) <= start and self.running:
                    await self._changed.wait()
        self.hear()
        if self._error is not None:
            raise self._error
        return StreamPart(self.state(), bytes(memoryview(self._content)[start : start + limit]))

    def cancel(self) -> None:
        """End the run; its request ends soon."""
        self._task.cancel()

    async def stop(self) -> None:
        """End the run, and wait until its request has ended."""
        self.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        """Make the file until it is complete or nobody has listened for `grace_s`."""
        making = asyncio.create_task(self._make())
        try:
            while making not in (await asyncio.wait({making}, timeout=self._patience_s()))[0]:
                if self._patience_s() <= 0:
                    raise RequestAborted("Nobody fetched the stream any more")
            await making
        except asyncio.CancelledError:
            self._error = RequestAborted("The stream was stopped")
            raise
        except Exception as error:
            self._error = error
            self._content.clear()
            self._reserve(0)
        finally:
            making.cancel()
            await asyncio.wait({making})
            asyncio.get_running_loop().call_soon(self._notify)  # once this task is done

    def _patience_s(self) -> float:
        return self._heard_at + self._grace_s - monotonic()

    async def _make(self) -> None:
        live = await self._source.start()
        async with contextlib.aclosing(live.later):
            await live.check_channels(self._source.encoding)
            total = await live.file_size(self._source.encoding)
            self._facts = live.facts_so_far()
            self._reserve(self._most_bytes(live) if total is None else total)
            self._total = total
            async for part in live.parts(self._source.encoding, self._source.mastering):
                if isinstance(part, bytes):
                    self._content += part
                    self._notify()
        self._complete()

    def _complete(self) -> None:
        size = len(self._content)
        if self._total is not None and self._total != size:
            logger.error("A stream has %d bytes, but %d were announced", size, self._total)
            raise GenerationFailed("the file's length is not the one that was announced")
        self._total = size
        self._reserve(size)

    def _most_bytes(self, live: LiveTrack) -> int:
        """Bound the bytes of a file whose length depends on its audio."""
        encoding = self._source.encoding
        if encoding.bit_rate is not None:
            return int(live.request.duration_s * encoding.bit_rate / 8 * 1.25) + _HEADERS_BYTES
        channels = len(live.first.samples) if isinstance(live.first, AudioChunk) else 2
        rate = encoding.rate_from(_RESAMPLED_HZ)
        return int(live.request.duration_s * rate * channels * 2 * 1.05) + _HEADERS_BYTES

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _own_context() -> Context:
    """Make a context that keeps the trace of the first listener and nothing else of its request.

    Ray Serve cancels what a request has called, by the request's context, when its client goes
    away; the run is for later listeners, too.
    """
    own = Context()
    own.run(opentelemetry.context.attach, opentelemetry.context.get_current())
    return own
