"""The facts of an HTTP request that the middleware has put into its state, in a generation's."""

from typing import TypedDict

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from serve_app.api.body_reader import audio_content
from serve_app.api.schemas.generation import Generation
from serve_app.errors import InvalidRequest
from serve_app.gateway.service import GenerationService
from serve_app.model_status import ModelCard
from serve_app.types import GenerationRequest


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
    audio_prompt: str | None = None,
) -> tuple[GenerationRequest, ModelCard]:
    """Check the request and select its model. Raises ServeAppError."""
    prompt = service.check_prompt(wanted.prompt, required=audio_prompt is None)
    content = None if audio_prompt is None else await audio_content(audio_prompt)
    card = await service.selector.select(
        wanted.model, wanted.duration_s, wanted.max_wait_s, wanted.decoder
    )
    generation = GenerationRequest(
        **request_context(request),
        prompt=prompt,
        audio_prompt=None if content is None else await service.audio_prompts.read(content, card),
        duration_s=wanted.duration_s,
        extend_stride_s=wanted.extend_stride_s,
        decoder=wanted.decoder,
        model=card.model_id,
        sampling=wanted.sampling(),
    )
    return generation, card
