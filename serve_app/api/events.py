"""Server-sent events of a track in the making: `progress` and `audio`, then `done` or `error`."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi.sse import format_sse_event

from serve_app.api.error_handlers import as_serve_app_error
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.gateway.track import LiveTrack
from serve_app.track_fields import TrackReport, ordered
from serve_app.types import Progress

_LAST = ("real_time_factor", "cost_usd")  # keys of `done`


async def events(live: LiveTrack, encoding: Encoding, mastering: Mastering) -> AsyncIterator[bytes]:
    """Yield the track's events. The status line has been sent, so an error becomes an event."""
    try:
        async for part in live.parts(encoding, mastering):
            yield _event_of(part, live.request.duration_s)
    except Exception as error:
        yield _event("error", as_serve_app_error(error).problem_details)


def _event_of(part: Progress | bytes | TrackReport, duration_s: float) -> bytes:
    if isinstance(part, Progress):
        fraction = round(min(1.0, part.audio_s / duration_s), 4)
        return _event("progress", {"fraction": fraction, **asdict(part)})
    if isinstance(part, bytes):
        return _event("audio", {"audio": base64.b64encode(part).decode("ascii")})
    return _event("done", ordered(part.model_dump(), last=_LAST))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data))
