"""`/v1/music` and `/v1/sound-generation`: ElevenLabs' clients."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from serve_app.api import openapi
from serve_app.api.body_reader import read_json
from serve_app.api.field_names import named_as
from serve_app.api.ignored_fields import ignored_header
from serve_app.api.multipart_mixed import multipart_mixed
from serve_app.api.paths import MUSIC, SOUND
from serve_app.api.query import takes_query
from serve_app.api.request_context import check_prompt_field, generation_request
from serve_app.api.schemas.elevenlabs import DetailedMusic, Music, Sound
from serve_app.api.schemas.elevenlabs_formats import AUTO, NAMES, file_options
from serve_app.api.schemas.elevenlabs_plan import SongMetadata, plan_of
from serve_app.api.track_answers import file_answer, made_file, started, stream_answer
from serve_app.audio.file_options import FileOptions
from serve_app.gateway.service import GenerationService
from serve_app.gateway.track import Track
from serve_app.model_status import ModelCard
from serve_app.track_fields import to_headers
from serve_app.types import GenerationRequest

_UNSERVED = ("plan", "upload", "stem-separation", "video-to-music", "detailed/stream")
_DESCRIPTION = (
    "Format of the file. `auto`: mp3_48000_192 for music_v2 and later, else mp3_44100_128."
)
_FILE_NAMES = dict.fromkeys(("response_format", "sample_rate", "bitrate_kbps"), "output_format")
Format = Annotated[str, Query(description=_DESCRIPTION, json_schema_extra={"enum": list(NAMES)})]
Logging = Annotated[bool | None, Query(description="Without effect.")]


@dataclass(frozen=True)
class _Order:
    """A checked request.

    headers: those of the answer that are known before the track is made.
    """

    request: GenerationRequest
    card: ModelCard
    options: FileOptions
    headers: dict[str, str]


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(
        tags=["ElevenLabs' clients"],
        dependencies=[Depends(takes_query("output_format", "enable_logging"))],
    )

    @router.post(
        MUSIC,
        **_documented(Music),
        summary="Make music (ElevenLabs)",
    )
    async def compose(
        request: Request, output_format: Format = AUTO, enable_logging: Logging = None
    ) -> Response:
        """Makes a track and answers with its file."""
        music = await read_json(request, Music)
        with named_as(_FILE_NAMES | music.names):
            order = await _music(service, music, request, output_format, enable_logging)
            return await _file(service, order)

    @router.post(
        f"{MUSIC}/stream",
        **_documented(Music),
        summary="Stream music (ElevenLabs)",
    )
    async def stream(
        request: Request, output_format: Format = AUTO, enable_logging: Logging = None
    ) -> Response:
        """Makes a track and sends its file while it is made."""
        music = await read_json(request, Music)
        with named_as(_FILE_NAMES | music.names):
            order = await _music(
                service, music, request, output_format, enable_logging, streamed=True
            )
            live = await started(service, order.options, order.card, order.request)
        return stream_answer(
            live, order.options.encoding(), order.options.mastering(), order.headers
        )

    @router.post(
        f"{MUSIC}/detailed",
        **_documented(DetailedMusic, multipart=True),
        summary="Make music, with its facts (ElevenLabs)",
    )
    async def compose_detailed(
        request: Request, output_format: Format = AUTO, enable_logging: Logging = None
    ) -> Response:
        """Makes a track and answers in two parts: its facts in JSON, and its file."""
        music = await read_json(request, DetailedMusic)
        with named_as(_FILE_NAMES | music.names):
            order = await _music(service, music, request, output_format, enable_logging)
            track, content = await made_file(service, order.options, order.card, order.request)
        return _detailed(music, track, content, order)

    @router.post(
        SOUND,
        **_documented(Sound),
        summary="Make music by a text (ElevenLabs' sound effects)",
    )
    async def convert(
        request: Request, output_format: Format = AUTO, enable_logging: Logging = None
    ) -> Response:
        """Makes a track and answers with its file."""
        sound = await read_json(request, Sound)
        options = _options(output_format, sound.model_id)
        check_prompt_field(service, sound.text, "text")
        with named_as(_FILE_NAMES | sound.names):
            order = await _order(service, sound, request, options, enable_logging)
            return await _file(service, order)

    for path in _UNSERVED:
        router.add_api_route(f"{MUSIC}/{path}", _refuse, methods=["POST"], include_in_schema=False)
    return router


def _documented(model: type[BaseModel], *, multipart: bool = False) -> dict[str, Any]:
    """Document a route that takes `model` and answers with a file, or with two parts."""
    return {
        "response_class": Response,
        "responses": openapi.elevenlabs_responses(multipart=multipart),
        "openapi_extra": openapi.json_body(model),
    }


async def _refuse(request: Request) -> Response:
    raise HTTPException(
        404,
        f"{request.url.path} is not served here: make music by {MUSIC}, {MUSIC}/stream, "
        f"{MUSIC}/detailed or {SOUND}",
    )


async def _music(
    service: GenerationService,
    music: Music,
    request: Request,
    output_format: str,
    enable_logging: bool | None,
    *,
    streamed: bool = False,
) -> _Order:
    """Check a request for music. Raises RequestValidationError and ServeAppError."""
    options = _options(output_format, music.model_id)
    if music.sign_with_c2pa and not service.signs(options.encoding(), streamed=streamed):
        raise _refusal(
            "sign_with_c2pa", "this service has no certificate for such a file: leave it out"
        )
    field, prompt = music.description
    check_prompt_field(service, prompt, field)
    return await _order(service, music, request, options, enable_logging)


async def _order(
    service: GenerationService,
    body: Music | Sound,
    request: Request,
    options: FileOptions,
    enable_logging: bool | None,
) -> _Order:
    served = service.router.names
    generation, card = await generation_request(service, body.generation(served), request)
    ignored = [*body.ignored, *(["model_id"] if body.names_their_model(served) else [])]
    ignored += [] if enable_logging is None else ["enable_logging"]
    headers = {"song-id": generation.request_id} | ignored_header(ignored)
    return _Order(generation, card, options, headers)


def _options(output_format: str, model_id: str | None) -> FileOptions:
    """Find the options of the file. Raises RequestValidationError."""
    try:
        return file_options(output_format, model_id)
    except ValueError as error:
        raise _refusal("output_format", str(error)) from error


def _refusal(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", field), "msg": message}])


async def _file(service: GenerationService, order: _Order) -> Response:
    track, content = await made_file(service, order.options, order.card, order.request)
    return file_answer(track, content, order.options.encoding(), order.headers)


def _detailed(music: DetailedMusic, track: Track, content: bytes, order: _Order) -> Response:
    report = track.report()
    prompt = track.request.prompt
    plan = music.composition_plan or plan_of(prompt, track.request.duration_s)
    facts: dict[str, Any] = {
        "composition_plan": plan.model_dump(),
        "song_metadata": SongMetadata(description=prompt).model_dump(),
        "track": report.model_dump(),
    }
    if music.with_timestamps:
        facts["words_timestamps"] = []
    spec = order.options.file_format
    body, media_type = multipart_mixed(facts, content, f"track.{spec.suffix}", spec.media_type)
    headers = to_headers(report.model_dump()) | order.headers
    return Response(body, media_type=media_type, headers=headers)
