"""`POST /v1/audio/speech`: OpenAI's clients."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from serve_app.api import openapi
from serve_app.api.body_reader import read_json
from serve_app.api.error_handlers import as_serve_app_error
from serve_app.api.field_names import named_as
from serve_app.api.ignored_fields import ignored_header
from serve_app.api.paths import SPEECH
from serve_app.api.query import takes_query
from serve_app.api.request_context import check_prompt_field, generation_request
from serve_app.api.schemas.openai import Speech
from serve_app.api.track_answers import (
    event_headers,
    file_answer,
    made_file,
    started,
    stream_answer,
)
from serve_app.error_bodies import openai_object
from serve_app.gateway.service import GenerationService
from serve_app.gateway.track import LiveTrack
from serve_app.track_fields import TrackReport

_NAMES = {"prompt": "input"}


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["OpenAI's clients"], dependencies=[Depends(takes_query())])

    @router.post(
        SPEECH,
        response_class=Response,
        responses=openapi.speech_responses(),
        openapi_extra=openapi.json_body(Speech),
        summary="Make music (OpenAI's speech)",
    )
    async def create_speech(request: Request) -> Response:
        """Makes a track from `input` and answers with its file.

        With `stream_format` it is sent while it is made.
        """
        body = await read_json(request, Speech)
        check_prompt_field(service, body.prompt, "input")
        with named_as(_NAMES):
            return await _answer(service, body, request)

    return router


async def _answer(service: GenerationService, body: Speech, request: Request) -> Response:
    generation, card = await generation_request(service, body, request)
    ignored = ignored_header(body.ignored)
    if body.stream_format is None:
        track, content = await made_file(service, body, card, generation)
        return file_answer(track, content, body.encoding(), ignored)
    live = await started(service, body, card, generation)
    if body.stream_format == "sse":
        return EventSourceResponse(_events(live, body), headers=event_headers(live, ignored))
    return stream_answer(live, body.encoding(), body.mastering(), ignored)


async def _events(live: LiveTrack, body: Speech) -> AsyncIterator[bytes]:
    """Yield the track's events. The status line has been sent, so an error becomes an event."""
    try:
        with named_as(_NAMES):
            async for part in live.parts(body.encoding(), body.mastering()):
                if isinstance(part, bytes):
                    audio = base64.b64encode(part).decode("ascii")
                    yield _event("speech.audio.delta", audio=audio)
                elif isinstance(part, TrackReport):
                    usage = {"type": "duration", "seconds": part.duration_s}
                    yield _event("speech.audio.done", usage=usage, track=part.model_dump())
    except Exception as error:
        problem = as_serve_app_error(error).problem_details
        yield _event("error", error=openai_object(problem))


def _event(kind: str, **members: Any) -> bytes:
    return format_sse_event(data_str=json.dumps({"type": kind, **members}))
