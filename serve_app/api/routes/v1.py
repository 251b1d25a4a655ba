"""`/v1`: this project's own API."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from serve_app.api import openapi
from serve_app.api.body_reader import (
    conversion_content,
    generation_content,
    read_audio_prompt,
    read_conversion,
    read_generation,
)
from serve_app.api.events import events as track_events
from serve_app.api.schemas import (
    Generation,
    Model,
    ModelList,
    StreamQuery,
    Variation,
    Variations,
)
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.errors import Unauthorized
from serve_app.gateway.service import GenerationService
from serve_app.gateway.track import Track
from serve_app.types import Audio, GenerationRequest


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["v1"])

    @router.post(
        "/audio/generations",
        response_class=Response,
        responses=openapi.generation_responses(),
        openapi_extra=openapi.body(generation_content()) | {"parameters": [openapi.TIMEOUT]},
        summary="Make music",
    )
    async def create_generation(request: Request) -> Response:
        """Turns a prompt into a piece of music and answers with the file; the headers tell what made it."""
        body = await read_generation(request)
        generation = await _request(service, body, request, body.audio_prompt)
        if body.stream:
            return await _stream(service, body, generation, events=body.stream_format == "sse")
        encoding, mastering = body.encoding(), body.mastering()
        if body.response_format == "json":
            tracks = await service.make_tracks(generation, body.n)
            files = [await track.encode(encoding, mastering) for track in tracks]
            return await asyncio.to_thread(_variations, tracks, files, encoding)
        track = await service.make_track(generation)
        content = await track.encode(encoding, mastering)
        return Response(
            content, media_type=encoding.file_format.media_type, headers=_headers(track)
        )

    @router.get(
        "/audio/stream",
        response_class=Response,
        responses=openapi.stream_responses(),
        summary="Play music",
    )
    async def stream_generation(
        query: Annotated[StreamQuery, Query()], request: Request
    ) -> Response:
        """As `POST /v1/audio/generations` with `stream`: `<audio src="/v1/audio/stream?prompt=lofi+beat">` plays it."""
        return await _stream(service, query, await _request(service, query, request))

    @router.post(
        "/audio/conversions",
        response_class=Response,
        responses=openapi.conversion_responses(),
        openapi_extra=openapi.body(conversion_content()),
        summary="Convert audio",
    )
    async def create_conversion(request: Request) -> Response:
        """Turns an audio file into one of another kind, with the options that generations have."""
        conversion, audio = await read_conversion(request)
        encoding, mastering = conversion.encoding(), conversion.mastering()
        content = await asyncio.to_thread(_convert, audio, encoding, mastering)
        return Response(content, media_type=encoding.file_format.media_type)

    @router.get("/models", responses=openapi.errors(Unauthorized), summary="List the served models")
    async def list_models() -> ModelList:
        """Every served model with its names, its limits and the licence of its weights."""
        default = service.router.default
        cards = sorted(service.router.cards, key=lambda card: card is not default)
        loaded = await asyncio.gather(*(service.loaded(card) for card in cards))
        return ModelList(
            data=[Model.of(card, model) for card, model in zip(cards, loaded, strict=True)]
        )

    return router


async def _stream(
    service: GenerationService,
    wanted: Generation,
    request: GenerationRequest,
    *,
    events: bool = False,
) -> Response:
    """The file while it is being made. What fails before the first item gets a proper status."""
    encoding, mastering = wanted.encoding(), wanted.mastering()
    mastering.check_streamable()
    live = await service.start_track(request.model_copy(update={"progress": events}))
    values = (live.model.model_id, live.first.seed, live.model.license, live.first.sample_rate)[
        : 3 if events else 4
    ]
    headers = {name: str(value) for name, value in zip(openapi.HEADERS, values, strict=False)} | {
        "cache-control": "no-store"
    }
    if events:
        return EventSourceResponse(track_events(live, encoding, mastering), headers=headers)
    content = (part.content async for part in live.parts(encoding, mastering) if part.content)
    return StreamingResponse(content, media_type=encoding.file_format.media_type, headers=headers)


async def _request(
    service: GenerationService,
    wanted: Generation,
    request: Request,
    audio_prompt: str | None = None,
) -> GenerationRequest:
    return GenerationRequest(
        request_id=request.state.request_id,
        caller=request.state.caller,
        deadline=request.state.deadline,
        prompt=service.check_prompt(wanted.prompt, needed=audio_prompt is None),
        audio_prompt=await read_audio_prompt(audio_prompt, service.config.max_audio_prompt_s),
        duration_s=wanted.duration_s,
        extend_stride_s=wanted.extend_stride_s,
        model=(await service.choose(wanted.model, wanted.duration_s, wanted.max_wait_s)).model_id,
        sampling=wanted.sampling(),
    )


def _convert(audio: Audio, encoding: Encoding, mastering: Mastering) -> bytes:
    return encode(mastering.whole(audio.samples, audio.sample_rate), audio.sample_rate, encoding)


def _variations(tracks: Sequence[Track], files: Sequence[bytes], encoding: Encoding) -> Response:
    data = [
        Variation(
            seed=track.seed,
            audio=base64.b64encode(file).decode("ascii"),
            size_bytes=len(file),
            duration_s=track.duration_s,
            **asdict(track.timings),
            real_time_factor=track.real_time_factor,
            cost_usd=track.model.cost_usd(track.timings),
            model=track.model.model_id,
            license=track.model.license,
        )
        for track, file in zip(tracks, files, strict=True)
    ]
    sample_rate = encoding.rate_from(tracks[0].sample_rate)
    answer = Variations(
        prompt=tracks[0].prompt, format=encoding.file_format, sample_rate=sample_rate, data=data
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _headers(track: Track) -> Mapping[str, str]:
    timings = track.timings
    values = (
        track.model.model_id,
        track.seed,
        track.model.license,
        track.sample_rate,
        f"{track.duration_s:.3f}",
        f"{timings.queue_s:.3f}",
        f"{timings.time_to_first_audio_s:.3f}",
        f"{timings.generation_s:.3f}",
        f"{track.real_time_factor:.2f}",
        f"{timings.compute_s:.3f}",
        track.model.cost_usd(timings),
    )
    return {
        name: str(value)
        for name, value in zip(openapi.HEADERS, values, strict=True)
        if value is not None
    }
