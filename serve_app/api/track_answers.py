"""Answers with a track: its whole file, or the file while it is made."""

from collections.abc import Mapping

from fastapi import Response
from fastapi.responses import StreamingResponse

from serve_app.audio.file_format import Encoding
from serve_app.audio.file_options import FileOptions
from serve_app.audio.mastering import Mastering
from serve_app.gateway.service import GenerationService
from serve_app.gateway.track import LiveTrack, Track
from serve_app.model_status import ModelCard
from serve_app.track_fields import to_headers
from serve_app.types import GenerationRequest

NO_STORE = {"cache-control": "no-store"}


async def made_file(
    service: GenerationService, wanted: FileOptions, card: ModelCard, request: GenerationRequest
) -> tuple[Track, bytes]:
    """Make a track and its file. Raises ServeAppError."""
    encoding = wanted.encoding()
    await service.check_file(card, encoding)
    track = await service.make_track(request, card)
    return track, await track.encode(encoding, wanted.mastering())


def file_answer(
    track: Track, content: bytes, encoding: Encoding, more: Mapping[str, str] | None = None
) -> Response:
    """Answer with a whole file. more: further headers."""
    headers = {**to_headers(track.report().model_dump()), **(more or {})}
    return Response(content, media_type=encoding.file_format.media_type, headers=headers)


async def started(
    service: GenerationService,
    wanted: FileOptions,
    card: ModelCard,
    request: GenerationRequest,
    *,
    offers_json: bool = False,
) -> LiveTrack:
    """Start a track whose file is sent while it is made.

    offers_json: as of Marking.check. Raises ServeAppError: its answer has its own status.
    """
    encoding = wanted.encoding()
    wanted.mastering().check_streamable()
    await service.check_file(card, encoding, streamed=True, offers_json=offers_json)
    live = await service.start_track(request, card)
    await live.check_channels(encoding)
    return live


def stream_answer(
    live: LiveTrack,
    encoding: Encoding,
    mastering: Mastering,
    more: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """Answer with the file while it is made. more: further headers."""
    parts = live.parts(encoding, mastering)
    content = (part async for part in parts if isinstance(part, bytes))
    headers = {**to_headers(live.facts_so_far()), **NO_STORE, **(more or {})}
    return StreamingResponse(content, media_type=encoding.file_format.media_type, headers=headers)


def event_headers(live: LiveTrack, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build the headers of events. They never tell the sample rate, which the last event tells."""
    facts = live.facts_so_far()
    facts.pop("sample_rate", None)
    return {**to_headers(facts), **NO_STORE, **(more or {})}
