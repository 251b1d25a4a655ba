"""The facts of an HTTP request that the middleware has put into its state, in a generation's."""

from typing import TypedDict

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from serve_app.api.schemas.generation import Generation
from serve_app.api.uploaded_audio import NO_UPLOADS, Uploads
from serve_app.errors import InvalidRequest
from serve_app.gateway.service import GenerationService
from serve_app.jobs.intake import checking
from serve_app.model_status import ModelCard
from serve_app.types import Audio, GenerationRequest


class RequestContext(TypedDict):
    """Fields of a GenerationRequest that do not come from its body."""

    request_id: str
    caller: str
    deadline: float | None


def request_context(request: Request) -> RequestContext:
    state = request.state
    return {
        "request_id": state.request_id,
        "caller": state.caller,
        "deadline": state.deadline,
    }


def check_prompt_field(service: GenerationService, prompt: str, field: str) -> str:
    """Return the checked prompt. Raises RequestValidationError, which names the field."""
    try:
        return service.check_prompt(prompt)
    except InvalidRequest as error:
        raise RequestValidationError([{"loc": ("body", field), "msg": error.message}]) from error


async def generation_request(
    service: GenerationService,
    wanted: Generation,
    request: Request,
    uploads: Uploads = NO_UPLOADS,
) -> tuple[GenerationRequest, ModelCard]:
    """Check the request and select its model. Raises ServeAppError."""
    prompt = service.check_prompt(wanted.prompt, required=not uploads.are_there)
    card = await service.selector.select(
        wanted.model,
        wanted.duration_s,
        wanted.max_wait_s,
        wanted.decoder,
        with_melody=uploads.melody is not None,
    )
    generation = GenerationRequest(
        **request_context(request),
        prompt=prompt,
        audio_prompt=await _audio_prompt(service, uploads, card),
        melody=await decoded_melody(service, uploads, card, wanted.duration_s),
        duration_s=wanted.duration_s,
        extend_stride_s=wanted.extend_stride_s,
        decoder=wanted.decoder,
        model=card.model_id,
        sampling=wanted.sampling(),
        sample_bits=wanted.sample_bits,
    )
    return generation, card


async def _audio_prompt(
    service: GenerationService, uploads: Uploads, card: ModelCard
) -> Audio | None:
    if uploads.audio_prompt is None:
        return None
    return await service.audio_prompts.read(uploads.audio_prompt, card)


async def decoded_melody(
    service: GenerationService, uploads: Uploads, card: ModelCard, duration_s: float
) -> Audio | None:
    """Decode the melody of a track of `duration_s` seconds. Raises InvalidAudio, naming the field."""
    if uploads.melody is None:
        return None
    with checking("melody"):
        return await service.audio_prompts.read_melody(uploads.melody, card, duration_s)
