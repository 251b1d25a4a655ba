"""The streams of one process, in bounded memory."""

import asyncio
import secrets
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from serve_app.errors import GenerationFailed, InvalidRequest, QueueFull, StreamNotFound
from serve_app.gateway.stream_run import GRACE_S, StreamRun
from serve_app.gateway.streams import StreamPart, StreamSource, StreamState

_ENTRY_BYTES = 16_384  # of a stream beside its file: the request, with its prompt


@dataclass(eq=False)
class _Entry:
    """One stream. runs: number of runs so far; run: the last; reserved: bytes for its file."""

    source: StreamSource
    used_at: float = field(default_factory=lambda: monotonic())
    run: StreamRun | None = None
    runs: int = 0
    reserved: int = 0

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.running

    def idle(self, period_s: float) -> bool:
        """Test that the stream has neither been used nor made for `period_s`."""
        return not self.running and monotonic() - self.used_at > period_s

    def state(self) -> StreamState:
        if self.run is not None and not self.run.failed:
            return self.run.state()
        media_type = self.source.encoding.file_format.media_type
        return StreamState(media_type, self.runs + 1, {}, 0, None, complete=False)


class StreamStore:
    """Streams of one process, the least recently used first.

    max_bytes: memory for all files; a file that is not in use makes room for a new one;
    kept_s: seconds since its last use after which a stream is forgotten.
    """

    def __init__(self, max_bytes: int, kept_s: float) -> None:
        self._max_bytes = max_bytes
        self._kept_s = kept_s
        self._entries: dict[str, _Entry] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used_bytes(self) -> int:
        """Bytes that are reserved."""
        return sum(_ENTRY_BYTES + entry.reserved for entry in self._entries.values())

    def create(self, source: StreamSource) -> str:
        """Keep a new stream, whose track is not started yet; return its id. Raises QueueFull."""
        self._make_room(_ENTRY_BYTES)
        stream_id = secrets.token_urlsafe(24)
        self._entries[stream_id] = _Entry(source)
        self._schedule_cleaning()
        return stream_id

    def has(self, stream_id: str) -> bool:
        return stream_id in self._entries

    async def describe(self, stream_id: str, /) -> StreamState:
        """Describe a stream without starting its track. Raises StreamNotFound."""
        entry = self._use(stream_id)
        if entry.run is not None:
            entry.run.hear()
        return entry.state()

    async def advance(
        self, stream_id: str, start: int, limit: int, version: int | None, /
    ) -> StreamPart:
        """Return the next bytes of a stream, as `Streams.advance` defines it."""
        entry = self._use(stream_id)
        if version is None and (entry.run is None or entry.run.failed):
            entry.runs += 1
            entry.run = StreamRun(entry.source, entry.runs, partial(self._reserve, entry))
        if entry.run is None or version not in (None, entry.runs):
            raise GenerationFailed("the stream was started again; fetch it from its beginning")
        return await entry.run.part(start, limit)

    async def close(self) -> None:
        """Stop all runs, and forget all streams."""
        runs = [entry.run for entry in self._entries.values() if entry.run is not None]
        self._entries.clear()
        await asyncio.gather(*(run.stop() for run in runs))

    def _use(self, stream_id: str) -> _Entry:
        entry = self._entries.pop(stream_id, None)
        if entry is None:
            raise StreamNotFound("This stream does not exist or has expired: ask for a new one")
        entry.used_at = monotonic()
        self._entries[stream_id] = entry
        return entry

    def _reserve(self, entry: _Entry, size: int) -> None:
        """Reserve the bytes of the stream's file. Raises InvalidRequest and QueueFull."""
        entry.reserved = 0
        if size + _ENTRY_BYTES > self._max_bytes:
            raise InvalidRequest(
                f"The file would take about {size} bytes, and streams have {self._max_bytes}. Ask "
                "for a shorter track or a smaller format, or use POST /v1/audio/generations"
            )
        self._make_room(size)
        entry.reserved = size

    def _make_room(self, size: int) -> None:
        """Forget streams that are not in use until `size` bytes are free. Raises QueueFull."""
        self._forget(self._kept_s)
        excess = self.used_bytes + size - self._max_bytes
        idle = [name for name, entry in self._entries.items() if entry.idle(GRACE_S)]
        for name in idle:
            if excess <= 0:
                return
            excess -= _ENTRY_BYTES + self._entries.pop(name).reserved
        if excess > 0:
            raise QueueFull(
                "The files that are being fetched fill the memory for streams. "
                "Send the request again later.",
                GRACE_S,
            )

    def _forget(self, idle_s: float) -> None:
        """Forget the streams that have been idle for `idle_s`."""
        for name in [name for name, entry in self._entries.items() if entry.idle(idle_s)]:
            del self._entries[name]

    def _schedule_cleaning(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._kept_s, self._clean)

    def _clean(self) -> None:
        self._timer = None
        self._forget(self._kept_s)
        if self._entries:
            self._schedule_cleaning()
