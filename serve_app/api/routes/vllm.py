"""`POST /v1/audio/generate`: clients of vLLM-Omni."""

from fastapi import APIRouter, Depends, Request, Response

from serve_app.api import openapi
from serve_app.api.body_reader import read_json
from serve_app.api.field_names import named_as
from serve_app.api.ignored_fields import ignored_header
from serve_app.api.paths import AUDIO_GENERATE
from serve_app.api.query import takes_query
from serve_app.api.request_context import check_prompt_field, generation_request
from serve_app.api.schemas.vllm import AudioGeneration
from serve_app.api.track_answers import file_answer, made_file
from serve_app.gateway.service import GenerationService

_NAMES = {"prompt": "input", "duration_s": "audio_length", "cfg_coef": "guidance_scale"}


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["vLLM-Omni's clients"], dependencies=[Depends(takes_query())])

    @router.post(
        AUDIO_GENERATE,
        response_class=Response,
        responses=openapi.stream_responses(),
        openapi_extra=openapi.json_body(AudioGeneration),
        summary="Make music (vLLM-Omni)",
    )
    async def create_audio(request: Request) -> Response:
        """Makes a track from `input` and answers with its file."""
        body = await read_json(request, AudioGeneration)
        check_prompt_field(service, body.prompt, "input")
        with named_as(_NAMES):
            generation, card = await generation_request(service, body, request)
            track, content = await made_file(service, body, card, generation)
        return file_answer(track, content, body.encoding(), ignored_header(body.ignored))

    return router
