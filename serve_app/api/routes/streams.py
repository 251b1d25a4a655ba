"""`/v1/audio/stream`: a track for a player, at an address of its own that can be fetched again."""

import math
from collections.abc import Callable
from functools import partial
from time import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from serve_app.api import openapi
from serve_app.api.byte_range import ByteRange, parse_range
from serve_app.api.error_handlers import problem
from serve_app.api.errors import RangeNotSatisfiable
from serve_app.api.repeated_fields import refuse_repeated
from serve_app.api.request_context import generation_request, request_context
from serve_app.api.schemas.generation import StreamQuery
from serve_app.gateway.service import GenerationService
from serve_app.gateway.stream_listener import StreamListener
from serve_app.gateway.streams import Streams, StreamSource, StreamState
from serve_app.gateway.track import LiveTrack
from serve_app.model_status import ModelCard
from serve_app.track_fields import to_headers
from serve_app.types import GenerationRequest

_NO_STORE = {"cache-control": "no-store"}


def create_router(
    service: GenerationService, streams: Streams, limit_s: Callable[[], float]
) -> APIRouter:
    """Build the routes. limit_s: seconds within which a track is to be made, from its start on."""
    router = APIRouter(prefix="/v1", tags=["v1"])

    @router.get(
        "/audio/stream",
        status_code=303,
        response_class=RedirectResponse,
        responses=openapi.redirect_responses(),
        summary="Play music",
    )
    async def create_stream(
        query: Annotated[StreamQuery, Query()], request: Request
    ) -> RedirectResponse:
        """Redirects a player (`<audio src="/v1/audio/stream?prompt=lofi+beat">`) to the address of
        a new track, of this call alone."""
        refuse_repeated(request.query_params, "query")
        query = _with_format(query, service.config.stream_default_format)
        generation, card = await generation_request(service, query, request)
        encoding = query.encoding()
        mastering = query.mastering()
        mastering.check_streamable()
        await service.check_file(card, encoding, streamed=True)
        start = partial(_start_in_time, service, generation, card, limit_s)
        stream_id = streams.create(StreamSource(start, encoding, mastering))
        # Relative, so that it holds behind any proxy and below any prefix.
        return RedirectResponse(f"streams/{stream_id}", 303, headers=_NO_STORE)

    @router.get(
        "/audio/streams/{stream_id}",
        response_class=Response,
        responses=openapi.playback_responses(),
        summary="Fetch a stream",
    )
    async def fetch_stream(stream_id: str, request: Request) -> Response:
        """Sends the file while it is made, then as often as it is asked for, whole or in ranges.

        Its track is made once, from the first call on. It is aborted if nobody listens for longer
        than `api.stream_grace_s`.
        """
        deadline = request_context(request)["deadline"]
        return await _file(StreamListener(streams, stream_id, deadline), request)

    @router.head("/audio/streams/{stream_id}", include_in_schema=False)
    async def describe_stream(stream_id: str) -> Response:
        state = await streams.describe(stream_id)
        return Response(media_type=state.media_type, headers=_headers(state, state.total))

    return router


async def _start_in_time(
    service: GenerationService,
    generation: GenerationRequest,
    card: ModelCard,
    limit_s: Callable[[], float],
) -> LiveTrack:
    """Start a track that has the service's own limit from now on, or less of its caller's deadline."""
    deadline = min(time() + limit_s(), generation.deadline or math.inf)
    update = {"deadline": None if math.isinf(deadline) else deadline}
    return await service.start_track(generation.model_copy(update=update), card)


def _with_format(query: StreamQuery, default: str) -> StreamQuery:
    """Fill in the format where the caller has named none."""
    if "response_format" in query.model_fields_set:
        return query
    return query.model_copy(update={"response_format": default})


async def _file(listener: StreamListener, request: Request) -> Response:
    """Answer with the whole file (200), a range (206), or 416. Raises ServeAppError."""
    state = await listener.open()
    wanted = _wanted_range(request, state)
    if wanted is not None and not wanted.is_whole and state.total is None:
        state = await listener.finish(state)
    if wanted is None or state.total is None:
        return _answer(listener, state)
    try:
        return _answer(listener, state, wanted.within(state.total))
    except RangeNotSatisfiable as error:
        return problem(error, headers={"content-range": f"bytes */{state.total}"})


def _wanted_range(request: Request, state: StreamState) -> ByteRange | None:
    """Read the range to answer with; None: the whole file."""
    condition = request.headers.get("if-range")
    if condition is not None and condition != _etag(state):
        return None
    return parse_range(request.headers.get("range"))


def _answer(
    listener: StreamListener, state: StreamState, positions: range | None = None
) -> StreamingResponse:
    start = 0 if positions is None else positions.start
    stop = state.total if positions is None else positions.stop
    headers = _headers(state, None if stop is None else stop - start)
    if positions is not None:
        headers["content-range"] = f"bytes {start}-{positions.stop - 1}/{state.total}"
    return StreamingResponse(
        listener.content(state, start, stop),
        status_code=200 if positions is None else 206,
        media_type=state.media_type,
        headers=headers,
    )


def _headers(state: StreamState, length: int | None) -> dict[str, str]:
    headers = to_headers(state.facts) | _NO_STORE
    headers |= {"accept-ranges": "bytes", "etag": _etag(state)}
    return headers if length is None else headers | {"content-length": str(length)}


def _etag(state: StreamState) -> str:
    """Name the bytes of the present run, within the address of the stream."""
    return f'"{state.version}"'
