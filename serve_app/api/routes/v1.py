"""`/v1`: this project's own API."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from serve_app.api.error_handlers import PROBLEM_MEDIA_TYPE
from serve_app.api.events import events as track_events
from serve_app.api.schemas import Generation, GenerationBody, Model, ModelList, Problem, StreamQuery
from serve_app.api.studio import Studio, Track
from serve_app.audio.file_format import FileFormat
from serve_app.errors import (
    DurationTooLong,
    GenerationFailed,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    PayloadTooLarge,
    PromptTooLong,
    QueueFull,
    ReplicaFailed,
    ServeAppError,
)
from serve_app.types import GenerationRequest

_ERRORS: tuple[type[ServeAppError], ...] = (
    InvalidRequest, PromptTooLong, DurationTooLong, ModelNotFound, PayloadTooLarge, QueueFull, GenerationFailed,
    ReplicaFailed, ModelLoading,
)  # fmt: skip

HEADERS = {
    "x-musicgen-model": "The model that made the music.",
    "x-musicgen-seed": "The seed that makes it again.",
    "x-musicgen-license": "The licence of the model's weights.",
    "x-musicgen-sample-rate": "Samples a second.",
    "x-musicgen-duration-s": "Seconds of music.",
    "x-musicgen-queue-s": "Seconds the request waited for a slot.",
    "x-musicgen-time-to-first-audio-s": "Seconds until the first audio was there.",
    "x-musicgen-generation-s": "Seconds from the slot to the last sample.",
    "x-musicgen-real-time-factor": "Seconds of music per second of generation.",
}


def create_router(studio: Studio) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["v1"])

    @router.post("/audio/generations", response_class=Response, responses=_responses(), summary="Make music")
    async def create_generation(body: GenerationBody, request: Request) -> Response:
        """Turns a prompt into a piece of music and answers with the file; the headers tell what made it."""
        if body.stream:
            return await _stream(studio, body, request, events=body.stream_format == "sse")
        encoding, mastering = body.encoding(), body.mastering()
        track = await studio.make_track(_request(studio, body, request))
        content = await track.encode(encoding, mastering)
        return Response(content, media_type=encoding.file_format.media_type, headers=_headers(track))

    @router.get("/audio/stream", response_class=Response, responses=_responses(), summary="Play music")
    async def stream_generation(query: Annotated[StreamQuery, Query()], request: Request) -> Response:
        """As `POST /v1/audio/generations` with `stream`: `<audio src="/v1/audio/stream?prompt=lofi+beat">` plays it."""
        return await _stream(studio, query, request)

    @router.get("/models", summary="List the served models")
    async def list_models() -> ModelList:
        """Every served model with its names, its limits and the licence of its weights."""
        default = studio.router.default
        cards = sorted(studio.router.cards, key=lambda card: card is not default)
        loaded = await asyncio.gather(*(studio.loaded(card) for card in cards))
        return ModelList(data=[Model.of(card, model) for card, model in zip(cards, loaded, strict=True)])

    return router


async def _stream(studio: Studio, generation: Generation, request: Request, *, events: bool = False) -> Response:
    """The file while it is being made. What fails before the first item gets a proper status."""
    encoding, mastering = generation.encoding(), generation.mastering()
    mastering.check_streamable()
    live = await studio.start_track(_request(studio, generation, request, progress=events))
    values = (live.model.model_id, live.first.seed, live.model.license, live.first.sample_rate)
    headers = {name: str(value) for name, value in zip(HEADERS, values, strict=False)} | {"cache-control": "no-store"}
    if events:
        return EventSourceResponse(track_events(live, encoding, mastering), headers=headers)
    content = (part.content async for part in live.parts(encoding, mastering) if part.content)
    return StreamingResponse(content, media_type=encoding.file_format.media_type, headers=headers)


def _request(studio: Studio, generation: Generation, request: Request, *, progress: bool = False) -> GenerationRequest:
    return GenerationRequest(
        request_id=request.state.request_id,
        caller=request.state.caller,
        prompt=studio.check_prompt(generation.prompt),
        duration_s=generation.duration_s,
        model=studio.router.resolve(generation.model).model_id,
        sampling=generation.sampling(),
        progress=progress,
    )


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
        f"{track.duration_s / max(timings.generation_s, 1e-9):.2f}",
    )
    return {name: str(value) for name, value in zip(HEADERS, values, strict=True)}


def _responses() -> dict[int | str, dict[str, Any]]:
    """The documented answers: the audio file, and each error with its codes."""
    audio = {file_format.media_type: {"schema": {"type": "string", "format": "binary"}} for file_format in FileFormat}
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()}
    documented: dict[int | str, dict[str, Any]] = {200: {"description": "The audio file", "content": audio}}
    documented[200]["headers"] = headers
    for status in sorted({error.status for error in _ERRORS}):
        errors = [error for error in _ERRORS if error.status == status]
        text = "; ".join(f"`{error.code}`: {error.title}" for error in errors)
        schema = {PROBLEM_MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
        documented[status] = {"description": text, "content": schema}
    return documented
