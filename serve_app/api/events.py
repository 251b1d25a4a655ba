"""A piece that is being made, as server-sent events: `progress` and `audio`, then `done` or `error`."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi.sse import format_sse_event

from serve_app.api.error_handlers import known, problem_body
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.gateway.track import LiveTrack
from serve_app.types import AudioChunk, Progress, Timings


async def events(live: LiveTrack, encoding: Encoding, mastering: Mastering) -> AsyncIterator[bytes]:
    """What fails on the way is an event: the status line has been sent."""
    try:
        async for part in live.parts(encoding, mastering):
            if part.chunk.progress is not None:
                yield _event("progress", _progress(live, part.chunk.progress))
            if part.content:
                yield _event("audio", {"audio": base64.b64encode(part.content).decode("ascii")})
            if part.chunk.timings is not None:
                yield _event("done", _done(live, part.chunk, part.chunk.timings))
    except Exception as error:  # the event's shape, whatever happened
        yield _event("error", problem_body(known(error)))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data))


def _progress(live: LiveTrack, progress: Progress) -> dict[str, Any]:
    return {
        "fraction": round(min(1.0, progress.audio_s / live.request.duration_s), 4),
        **asdict(progress),
    }


def _done(live: LiveTrack, last: AudioChunk, timings: Timings) -> dict[str, Any]:
    return {
        "model": live.model.model_id,
        "seed": last.seed,
        "license": live.model.license,
        "sample_rate": last.sample_rate,
        "duration_s": live.request.duration_s,
        **asdict(timings),
        "real_time_factor": round(live.request.duration_s / max(timings.generation_s, 1e-9), 2),
        "cost_usd": live.model.cost_usd(timings),
    }
