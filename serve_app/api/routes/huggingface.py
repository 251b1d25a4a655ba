"""`POST /models/{owner}/{name}`: the shape of Hugging Face's Inference API."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve_app.api.error_handlers import known, retry_after
from serve_app.api.openapi import body, contract_responses, json_content, schema_of
from serve_app.audio.file_format import Encoding, FileFormat
from serve_app.errors import InvalidRequest, ModelLoading
from serve_app.gateway.service import GenerationService
from serve_app.types import (
    CfgCoef,
    DurationS,
    GenerationRequest,
    LoadedModel,
    SamplingParams,
    Seed,
    Temperature,
    TopK,
    TopP,
)

_TYPICAL_LOADING_S, _DURATION_S = 20.0, 30.0
_DEFAULTS = SamplingParams()


class Parameters(BaseModel):
    """`generate`'s parameters under the names `transformers` gives them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    duration: DurationS | None = Field(
        default=None, description="Seconds of music; 30 without max_new_tokens."
    )
    max_new_tokens: int | None = Field(
        default=None, ge=1, le=100_000, description="Frames of music, 50 a second."
    )
    do_sample: bool = Field(default=True, description="false takes the likeliest code always.")
    temperature: Temperature = Field(
        default=_DEFAULTS.temperature, description="0 takes the likeliest code always."
    )
    top_k: TopK = Field(
        default=_DEFAULTS.top_k, description="Draw from so many of the likeliest codes; 0: all."
    )
    top_p: TopP = Field(
        default=_DEFAULTS.top_p, description="Draw from the likeliest codes of this mass."
    )
    guidance_scale: CfgCoef = Field(
        default=_DEFAULTS.cfg_coef, description="How closely to follow the prompt."
    )
    seed: Seed | None = Field(
        default=None, description="The same seed makes the same music; drawn when absent."
    )

    def sampling(self) -> SamplingParams:
        return SamplingParams(
            temperature=self.temperature if self.do_sample else 0.0,
            top_k=self.top_k,
            top_p=self.top_p if self.top_p < 1.0 else 0.0,
            cfg_coef=self.guidance_scale,
            seed=self.seed,
        )

    def duration_s(self, loaded: LoadedModel | None) -> float:
        """The length asked for; a model that is not loaded yet is taken for one of the published shape."""
        if self.duration is not None:
            return self.duration
        if self.max_new_tokens is not None:
            return self.max_new_tokens / (loaded.frame_rate if loaded else 50.0)
        return min(_DURATION_S, loaded.max_duration_s) if loaded else _DURATION_S


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    wait_for_model: bool = Field(
        default=False, description="Wait instead of 503 while the model is loading."
    )
    use_cache: bool = Field(default=False, description="Answers are never cached.")


class Body(BaseModel):
    """A prompt, as Hugging Face's clients send it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str = Field(description="What the music should be like.")
    parameters: Parameters = Parameters()
    options: Options = Options()


_OPENAPI = body(json_content(schema_of(Body)))
_AUDIO = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES = contract_responses(
    {"audio/wav": _AUDIO, "audio/flac": _AUDIO}, "error", (400, 404, 429, 500, 503)
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
        """Answers with the audio file: WAV, or FLAC where `Accept` asks for it. `503` while the model is loading."""
        try:
            return await _generate(service, f"{owner}/{name}", request)
        except Exception as error:  # the contract's shape, whatever happened
            return _failure(error)

    return router


async def _generate(service: GenerationService, repository: str, request: Request) -> Response:
    body = _parse(await request.body())
    card = service.router.resolve_repository(repository)
    loaded = await service.loaded(card)
    if loaded is None and not body.options.wait_for_model:
        raise service.loading(card, f"Model {repository} is currently loading")
    parameters = body.parameters
    generation = GenerationRequest(
        request_id=request.state.request_id,
        caller=request.state.caller,
        deadline=request.state.deadline,
        prompt=service.check_prompt(body.inputs),
        duration_s=parameters.duration_s(loaded),
        model=card.model_id,
        sampling=parameters.sampling(),
    )
    track = await service.make_track(generation)
    wants_flac = FileFormat.FLAC.media_type in request.headers.get("accept", "")
    file_format = FileFormat.FLAC if wants_flac else FileFormat.WAV
    headers = {"x-musicgen-model": card.model_id, "x-musicgen-seed": str(track.seed)}
    return Response(
        await track.encode(Encoding(file_format)),
        media_type=file_format.media_type,
        headers=headers,
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
    failure = known(error)
    answer: dict[str, Any] = {"error": failure.message}
    if isinstance(failure, ModelLoading):
        answer["estimated_time"] = failure.retry_after_s or 1.0
    return JSONResponse(answer, status_code=failure.status, headers=retry_after(failure))
