"""Server-sent events of a track in the making, as values."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from httpx_sse import ServerSentEvent
from pydantic import TypeAdapter

from serve_app.client.answers import Track, build_track
from serve_app.client.problems import UNREADABLE, bad_answer, cut_off, failure
from serve_app.client.wav_header import with_sizes


@dataclass(frozen=True)
class Progress:
    """Progress of a track.

    fraction: part made, 0 to 1; queue_position: 1 is next, 0 is running; audio_s: seconds of music
    made; remaining_s: estimated seconds until the end, None while there is no estimate.
    """

    fraction: float
    queue_position: int
    audio_s: float
    remaining_s: float | None


_PROGRESS = TypeAdapter(Progress)


@dataclass(frozen=True)
class Audio:
    """Next part of a file. content: its bytes."""

    content: bytes

    def __repr__(self) -> str:
        return f"Audio({len(self.content)} bytes)"


Event = Progress | Audio | Track


class EventReader:
    """Parser of one track's events, which keeps the audio for the Track.

    is_complete: whether the event `done` has been read.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._content = bytearray()
        self._parsers: Mapping[str, Callable[[Any], Event]] = {
            "progress": _progress, "audio": self._audio, "done": self._done, "error": _error,
        }  # fmt: skip

    def read(self, event: ServerSentEvent) -> Event | None:
        """Parse an event; None for one of an unknown kind. Raises ApiError."""
        parse = self._parsers.get(event.event)
        if parse is None:
            return None
        try:
            return parse(json.loads(event.data))
        except (KeyError, TypeError, OverflowError, *UNREADABLE) as error:
            raise bad_answer(f"a valid event '{event.event}'") from error

    def check_complete(self) -> None:
        """Raise ApiError at the end of a stream that has not told the track's facts."""
        if not self.is_complete:
            raise cut_off("the event 'done'")

    def _audio(self, data: Mapping[str, Any]) -> Audio:
        part = Audio(base64.b64decode(data["audio"], validate=True))
        self._content += part.content
        return part

    def _done(self, facts: Mapping[str, Any]) -> Track:
        if not self._content:
            raise bad_answer("any audio")
        self.is_complete = True
        return build_track(with_sizes(bytes(self._content)), facts)


def _progress(data: Mapping[str, Any]) -> Progress:
    return _PROGRESS.validate_python(data)


def _error(data: Mapping[str, Any]) -> NoReturn:
    raise failure(data)
