"""`/v1`: this project's own API."""

import asyncio
import base64
from collections.abc import Sequence
from time import time

from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse

from serve_app.api import openapi
from serve_app.api.base_url import base_url
from serve_app.api.body_reader import generation_content, read_generation
from serve_app.api.errors import OriginNotAllowed
from serve_app.api.events import events as track_events
from serve_app.api.middleware.authentication import KEY_HEADER
from serve_app.api.replicate_models import ReplicateModels
from serve_app.api.request_context import generation_request, request_context
from serve_app.api.schemas.elevenlabs_models import ElevenLabsModel
from serve_app.api.schemas.generation import Generation, GenerationBody
from serve_app.api.schemas.models import Model, ModelList
from serve_app.api.schemas.tracks import Variation, Variations
from serve_app.api.track_answers import event_headers, file_answer, started, stream_answer
from serve_app.api.uploaded_audio import UploadedAudio
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.errors import ModelNotFound, Unauthorized
from serve_app.gateway.service import GenerationService
from serve_app.gateway.track import Track
from serve_app.model_status import ModelCard
from serve_app.track_fields import to_headers
from serve_app.types import GenerationRequest

_File = tuple[bytes, bytes | None]  # with the manifest beside it


def create_router(service: GenerationService, uploaded: UploadedAudio) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["v1"])
    created = int(time())

    @router.post(
        "/audio/generations",
        response_class=Response,
        responses=openapi.generation_responses(),
        openapi_extra=openapi.body(generation_content()) | {"parameters": openapi.TRACK_DEADLINES},
        summary="Make music",
    )
    async def create_generation(request: Request) -> Response:
        """Makes a track from a prompt and answers with its file.

        The headers tell its model, seed and timings.
        """
        body = await read_generation(request)
        caller = request_context(request)["caller"]
        uploads = await uploaded.both(caller, body.audio_prompt, body.melody)
        generation, card = await generation_request(service, body, request, uploads)
        if body.stream:
            return await _stream(service, body, card, generation, body.stream_format == "sse")
        return await _answer(service, body, card, generation)

    @router.get(
        "/models",
        responses=openapi.errors(Unauthorized, OriginNotAllowed),
        summary="List the served models",
    )
    async def list_models(request: Request) -> ModelList | list[ElevenLabsModel]:
        """Lists the served models with their names, limits and the licences of their weights.

        A request with `xi-api-key` is ElevenLabs' client's, which reads an array.
        """
        default = service.router.default
        cards = sorted(service.router.cards, key=lambda card: card is not default)
        if _is_elevenlabs(service, request):
            most_chars = service.config.max_prompt_chars
            return [ElevenLabsModel.of(card, most_chars) for card in cards]
        return ModelList(
            data=await asyncio.gather(*(_model(service, card, created) for card in cards)),
            results=ReplicateModels(service.router).listed(base_url(request)),
        )

    @router.get(
        "/models/{model_id}",
        responses=openapi.errors(Unauthorized, OriginNotAllowed, ModelNotFound),
        summary="Describe a served model",
    )
    async def describe_model(model_id: str) -> Model:
        """Describes the model of that id or alias."""
        return await _model(service, service.router.resolve(model_id), created)

    return router


def _is_elevenlabs(service: GenerationService, request: Request) -> bool:
    return KEY_HEADER in request.headers and "elevenlabs" in service.config.dialects


async def _model(service: GenerationService, card: ModelCard, created: int) -> Model:
    loaded = await service.readiness.loaded(card)
    return Model.of(card, loaded, created, service.readiness.remembered(card))


async def _answer(
    service: GenerationService, body: GenerationBody, card: ModelCard, request: GenerationRequest
) -> Response:
    """Answer with a whole file, or with JSON."""
    encoding = body.encoding()
    mastering = body.mastering()
    as_json = body.response_format == "json"
    await service.check_file(card, encoding, detachable=as_json, offers_json=True)
    if as_json:
        tracks = await service.make_tracks(request, card, body.n)
        files = [await _file(track, encoding, mastering) for track in tracks]
        return await asyncio.to_thread(_variations, tracks, files, encoding)
    track = await service.make_track(request, card)
    return file_answer(track, await track.encode(encoding, mastering), encoding)


async def _stream(
    service: GenerationService,
    wanted: Generation,
    card: ModelCard,
    request: GenerationRequest,
    as_events: bool = False,
) -> Response:
    """Answer with the file while it is made. An error before the first item has its own status."""
    encoding = wanted.encoding()
    mastering = wanted.mastering()
    request = request.model_copy(update={"progress": as_events})
    live = await started(service, wanted, card, request, offers_json=True)
    if as_events:
        events = track_events(live, encoding, mastering)
        return EventSourceResponse(events, headers=event_headers(live))
    return stream_answer(live, encoding, mastering)


async def _file(track: Track, encoding: Encoding, mastering: Mastering) -> _File:
    content = await track.encode(encoding, mastering, detachable=True)
    return content, await track.manifest(content, encoding)


def _variations(tracks: Sequence[Track], files: Sequence[_File], encoding: Encoding) -> Response:
    answer = Variations(
        prompt=tracks[0].request.prompt,
        format=encoding.file_format.name,
        sample_rate=encoding.rate_from(tracks[0].sample_rate),
        data=[_variation(track, file) for track, file in zip(tracks, files, strict=True)],
    )
    mark = to_headers(tracks[0].report().model_dump(include={"digital_source_type"}))
    return Response(answer.to_json(), media_type="application/json", headers=mark)


def _variation(track: Track, file: _File) -> Variation:
    content, manifest = file
    return Variation(
        **track.report().model_dump(),
        audio=base64.b64encode(content).decode("ascii"),
        size_bytes=len(content),
        manifest=None if manifest is None else base64.b64encode(manifest).decode("ascii"),
    )
