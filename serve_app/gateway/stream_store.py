"""The streams of one process, in bounded memory."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Self

from serve_app.config.api import ApiConfig
from serve_app.errors import GenerationFailed, InvalidRequest, QueueFull, StreamNotFound
from serve_app.gateway.stream_run import StreamRun
from serve_app.gateway.streams import StreamPart, StreamSource, StreamState

_ENTRY_BYTES = 16_384  # of a stream beside its file: the request, with its prompt
_IN_USE_S = 5.0  # since its last use, for which a stream makes no room: listeners ask each 2 s
_MOST_BEGUN = 2  # tracks of one stream


@dataclass(eq=False)
class _Entry:
    """One stream.

    runs: number of runs so far; run: the last; begun: tracks of earlier runs that had begun;
    reserved: bytes for its file.
    """

    source: StreamSource
    used_at: float = field(default_factory=lambda: monotonic())
    run: StreamRun | None = None
    runs: int = 0
    begun: int = 0
    reserved: int = 0

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.running

    def unused(self, period_s: float) -> bool:
        """Test that nobody has used the stream for `period_s`."""
        return monotonic() - self.used_at > period_s

    def idle(self, period_s: float) -> bool:
        """Test that the stream has neither been used nor made for `period_s`."""
        return not self.running and self.unused(period_s)

    def start(self, grace_s: float, reserve: Callable[[int], None]) -> StreamRun:
        """Start the next run."""
        self.begun += self.run is not None and self.run.begun
        self.runs += 1
        self.run = StreamRun(self.source, self.runs, grace_s, reserve)
        return self.run

    @property
    def spent(self) -> bool:
        """Whether its track has failed, and was begun as often as it may be."""
        return (
            self.run is not None and self.run.failed and self.begun + self.run.begun >= _MOST_BEGUN
        )

    def state(self) -> StreamState:
        if self.run is not None and not self.run.failed:
            return self.run.state()
        media_type = self.source.encoding.file_format.media_type
        return StreamState(media_type, self.runs + 1, {}, 0, None, complete=False)


class StreamStore:
    """Streams of one process, the least recently used first.

    max_bytes: memory for all files; a file that is not in use makes room for a new one;
    kept_s: seconds since its last use after which a stream is forgotten;
    grace_s: seconds without a listener after which an unfinished track is aborted.
    """

    def __init__(self, max_bytes: int, kept_s: float, grace_s: float) -> None:
        self._max_bytes = max_bytes
        self._kept_s = kept_s
        self._grace_s = grace_s
        self._entries: dict[str, _Entry] = {}
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, config: ApiConfig) -> Self:
        return cls(config.stream_memory_bytes, config.stream_kept_s, config.stream_grace_s)

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
        self._check_unspent(stream_id, entry)
        if entry.run is not None:
            entry.run.hear()
        return entry.state()

    async def advance(
        self, stream_id: str, start: int, limit: int, version: int | None, /
    ) -> StreamPart:
        """Return the next bytes of a stream, as `Streams.advance` defines it."""
        entry = self._use(stream_id)
        if version is None and (entry.run is None or entry.run.failed):
            self._check_unspent(stream_id, entry)
            entry.start(self._grace_s, partial(self._reserve, entry))
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

    def _check_unspent(self, stream_id: str, entry: _Entry) -> None:
        """Forget a stream whose track was begun too often. Raises StreamNotFound then."""
        if entry.spent:
            self._drop(stream_id)
            raise StreamNotFound(
                f"The track of this stream was begun {_MOST_BEGUN} times, and no time finished: "
                "ask for a new stream, and keep fetching it"
            )

    def _reserve(self, entry: _Entry, size: int) -> None:
        """Reserve the bytes of the stream's file. Raises InvalidRequest and QueueFull."""
        entry.reserved = 0
        if size + _ENTRY_BYTES > self._max_bytes:
            raise InvalidRequest(
                f"The file would take about {size} bytes, and streams have {self._max_bytes}. Ask "
                "for a shorter track or a smaller format, or use POST /v1/audio/generations"
            )
        self._make_room(size, entry)
        entry.reserved = size

    def _make_room(self, size: int, kept: _Entry | None = None) -> None:
        """Forget streams that are not in use until `size` bytes are free, except `kept`.

        Finished files go first, then those whose listeners have gone. Raises QueueFull.
        """
        self._forget(self._kept_s)
        unused = [one for one in self._entries.items() if one[1].unused(_IN_USE_S)]
        for name, entry in sorted(unused, key=lambda one: one[1].running):
            if self.used_bytes + size <= self._max_bytes:
                return
            if entry is not kept:
                self._drop(name)
        if self.used_bytes + size > self._max_bytes:
            raise QueueFull(
                "The files that are being fetched fill the memory for streams. "
                "Send the request again later.",
                _IN_USE_S,
            )

    def _drop(self, name: str) -> None:
        """Forget a stream; its track is aborted if it is being made."""
        entry = self._entries.pop(name)
        if entry.run is not None:
            entry.run.cancel()

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
