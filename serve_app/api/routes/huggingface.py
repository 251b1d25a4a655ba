"""`POST /models/{owner}/{name}`: Hugging Face's Inference API."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve_app.api.error_handlers import as_serve_app_error, retry_after
from serve_app.api.openapi import body, contract_responses, json_content, schema_of
from serve_app.api.request_context import request_context
from serve_app.audio.file_format import FLAC, WAV, Encoding
from serve_app.errors import InvalidRequest, ModelLoading
from serve_app.gateway.service import GenerationService
from serve_app.track_fields import to_headers
from serve_app.types import DurationS, GenerationRequest, LoadedModel, SamplingParams

_DURATION_S = 30.0
_FRAME_RATE = 50.0  # of the published models


class Parameters(SamplingParams, frozen=True):
    """The sampling parameters under the names of `transformers`' `generate`, and the duration."""

    model_config = ConfigDict(
        strict=True, alias_generator=lambda name: {"cfg_coef": "guidance_scale"}.get(name, name)
    )

    duration: DurationS | None = Field(
        default=None, description="Duration in seconds; 30 without max_new_tokens."
    )
    max_new_tokens: int | None = Field(
        default=None, ge=1, le=100_000, description="Duration in frames, 50 a second."
    )
    do_sample: bool = Field(default=True, description="false: greedy decoding.")

    def sampling(self) -> SamplingParams:
        """Collect the sampling parameters.

        A top_p of 1 means no nucleus sampling, as 0 does here.
        """
        sampling = self.model_dump(include=set(SamplingParams.model_fields))
        if not self.do_sample:
            sampling["temperature"] = 0.0
        if self.top_p == 1.0:
            sampling["top_p"] = 0.0
        return SamplingParams.model_validate(sampling)

    def duration_s(self, loaded: LoadedModel | None) -> float:
        """Compute the requested duration.

        A model that is not loaded yet is assumed to be a published one.
        """
        if self.duration is not None:
            return self.duration
        if self.max_new_tokens is not None:
            return self.max_new_tokens / (loaded.frame_rate if loaded else _FRAME_RATE)
        return min(_DURATION_S, loaded.max_duration_s) if loaded else _DURATION_S


class Options(BaseModel):
    """Options of the Inference API."""

    model_config = ConfigDict(extra="forbid", strict=True)

    wait_for_model: bool = Field(
        default=False, description="Whether to wait for a loading model instead of answering 503."
    )
    use_cache: bool = Field(default=False, description="Without effect: answers are never cached.")


class Body(BaseModel):
    """A request as Hugging Face's clients send it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str = Field(description="Text that describes the music.")
    parameters: Parameters = Field(default_factory=Parameters)
    options: Options = Options()


_OPENAPI = body(json_content(schema_of(Body)))
_AUDIO = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES = contract_responses(
    {WAV.media_type: _AUDIO, FLAC.media_type: _AUDIO}, "error", (400, 404, 429, 500, 503)
)


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["Hugging Face clients"])

    @router.post(
        "/models/{owner}/{name}",
        openapi_extra=_OPENAPI,
        responses=_RESPONSES,
        summary="Make music (Inference API)",
    )
    async def inference(owner: str, name: str, request: Request) -> Response:
        """Answers with the audio file: WAV, or FLAC if `Accept` asks for it.

        `503` while the model is loading.
        """
        try:
            return await _generate(service, f"{owner}/{name}", request)
        except Exception as error:  # any error has the contract's shape
            return _failure(error)

    return router


async def _generate(service: GenerationService, repository: str, request: Request) -> Response:
    body = _parse(await request.body())
    card = service.router.resolve_repository(repository)
    loaded = await service.readiness.loaded(card)
    if loaded is None and not body.options.wait_for_model:
        raise ModelLoading(f"Model {repository} is currently loading", service.readiness.wake(card))
    generation = GenerationRequest(
        **request_context(request),
        prompt=service.check_prompt(body.inputs),
        duration_s=body.parameters.duration_s(loaded),
        model=card.model_id,
        sampling=body.parameters.sampling(),
    )
    track = await service.make_track(generation, card)
    file_format = FLAC if FLAC.media_type in request.headers.get("accept", "") else WAV
    return Response(
        await track.encode(Encoding(file_format)),
        media_type=file_format.media_type,
        headers=to_headers(track.report().model_dump(include={"model", "seed"})),
    )


def _parse(content: bytes) -> Body:
    try:
        return Body.model_validate(json.loads(content))
    except ValidationError as error:
        failures = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InvalidRequest("; ".join(failures)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("Request body must be a JSON object") from error


def _failure(error: Exception) -> JSONResponse:
    failure = as_serve_app_error(error)
    answer: dict[str, Any] = {"error": failure.message}
    if isinstance(failure, ModelLoading):
        answer["estimated_time"] = failure.retry_after_s or 1.0
    return JSONResponse(answer, status_code=failure.status, headers=retry_after(failure))
