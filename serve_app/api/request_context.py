"""The facts of an HTTP request that the middleware has put into its state, in a generation's."""

from typing import TypedDict

from fastapi import Request

from serve_app.api.body_reader import read_audio_prompt
from serve_app.api.schemas.generation import Generation
from serve_app.gateway.service import GenerationService
from serve_app.types import GenerationRequest, ModelCard


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


async def generation_request(
    service: GenerationService,
    wanted: Generation,
    request: Request,
    audio_prompt: str | None = None,
) -> tuple[GenerationRequest, ModelCard]:
    """Check the request and select its model. Raises ServeAppError."""
    prompt = service.check_prompt(wanted.prompt, required=audio_prompt is None)
    audio = await read_audio_prompt(audio_prompt, service.config.max_audio_prompt_s)
    card = await service.selector.select(wanted.model, wanted.duration_s, wanted.max_wait_s)
    generation = GenerationRequest(
        **request_context(request),
        prompt=prompt,
        audio_prompt=audio,
        duration_s=wanted.duration_s,
        extend_stride_s=wanted.extend_stride_s,
        model=card.model_id,
        sampling=wanted.sampling(),
    )
    return generation, card
