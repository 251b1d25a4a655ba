"""Streams: files that are made while they are fetched, and can be fetched more than once."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.gateway.track import LiveTrack


@dataclass(frozen=True, slots=True)
class StreamSource:
    """The track and the file of one stream. start: starts the track; the same one each time."""

    start: Callable[[], Awaitable[LiveTrack]]
    encoding: Encoding
    mastering: Mastering


@dataclass(frozen=True, slots=True)
class StreamState:
    """State of one stream.

    version: number of the run that makes the file; bytes of two runs must not be joined;
    facts: by their names in TrackHeaders, empty before the track begins;
    size: bytes made so far; total: bytes of the whole file; None: not known yet.
    """

    media_type: str
    version: int
    facts: Mapping[str, object]
    size: int
    total: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class StreamPart:
    """Bytes of a stream, with its state after them."""

    state: StreamState
    content: bytes


class Streams(Protocol):
    """The streams of all ingress replicas, by unguessable ids. Errors are ServeAppErrors."""

    def create(self, source: StreamSource) -> str:
        """Keep a new stream, whose track is not started yet; return its id. Raises QueueFull."""
        ...

    async def describe(self, stream_id: str, /) -> StreamState:
        """Describe a stream without starting its track. Its listener is heard by that.

        Raises StreamNotFound.
        """
        ...

    async def advance(
        self, stream_id: str, start: int, limit: int, version: int | None, /
    ) -> StreamPart:
        """Return at most `limit` bytes from `start` on, once there is one, or none after 2 s.

        version: run to read; None: the present one, which is started if there is none.

        Raises StreamNotFound, the errors of the track, and GenerationFailed once the run is gone.
        """
        ...

    async def close(self) -> None:
        """Stop the tracks of this process, and forget its streams."""
        ...
