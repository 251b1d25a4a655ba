"""Hugging Face's Inference API: `POST /models/{owner}/{name}`, and its requests to `POST /`."""

import json
from time import time
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from serve_app.api.content_negotiation import prefers
from serve_app.api.error_handlers import as_serve_app_error
from serve_app.api.field_names import named_as
from serve_app.api.ignored_fields import ignored_header
from serve_app.api.openapi import body, contract_responses, json_content, schema_of
from serve_app.api.query import check_query
from serve_app.api.request_context import request_context
from serve_app.api.schemas.huggingface import Body, Options, failures
from serve_app.audio.file_format import FLAC, WAV, Encoding
from serve_app.errors import InvalidRequest, ModelLoading
from serve_app.gateway.service import GenerationService
from serve_app.model_status import LoadedModel, ModelCard
from serve_app.track_fields import to_headers
from serve_app.types import GenerationRequest

_OPENAPI = body(json_content(schema_of(Body)))
_TOLD = {"model", "seed", "digital_source_type"}  # in headers
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
        """Answers with the audio file: WAV, or FLAC if `Accept` prefers it.

        A request waits while the model is loading. `503` after the configured time.
        """
        return await _answer(service, f"{owner}/{name}", request)

    return router


def names_inputs(body: object) -> bool:
    """Test for a request of Hugging Face's clients, which the older contracts do not have."""
    return isinstance(body, dict) and "inputs" in body and "prompt" not in body


async def answer_at_root(service: GenerationService, request: Request) -> Response:
    """Answer a client whose `base_url` names no model, by the default model."""
    return await _answer(service, None, request)


async def _answer(service: GenerationService, repository: str | None, request: Request) -> Response:
    try:
        return await _generate(service, repository, request)
    except Exception as error:  # any error has the contract's shape
        return _failure(error)


async def _generate(
    service: GenerationService, repository: str | None, request: Request
) -> Response:
    """Make the track. repository: None: the default model's. Raises ServeAppError."""
    check_query(request)
    body = _parse(await request.body())
    router = service.router
    card = router.default if repository is None else router.resolve_repository(repository)
    with named_as(body.names):
        return await _file(service, body, card, repository or card.source, request)


async def _file(
    service: GenerationService, body: Body, card: ModelCard, name: str, request: Request
) -> Response:
    """Make the track, and answer with its file. name: of the model, for errors."""
    prompt = service.check_prompt(body.inputs)
    loaded = await _await_model(service, card, name, body.options, request)
    generation = GenerationRequest(
        **request_context(request),
        prompt=prompt,
        duration_s=body.parameters.duration_s(loaded),
        model=card.model_id,
        sampling=body.parameters.sampling(),
        sample_bits=16,
    )
    prefers_flac = prefers(request.headers, FLAC.media_type, WAV.media_type)
    file_format = FLAC if prefers_flac else WAV
    await service.check_file(card, Encoding(file_format))
    track = await service.make_track(generation, card)
    return Response(
        await track.encode(Encoding(file_format)),
        media_type=file_format.media_type,
        headers=to_headers(track.report().model_dump(include=_TOLD)) | ignored_header(body.ignored),
    )


async def _await_model(
    service: GenerationService, card: ModelCard, name: str, options: Options, request: Request
) -> LoadedModel | None:
    """Describe the model once it is loaded; None for a caller that waits in the queue instead.

    Hold the request while the model loads: Hugging Face's own client for JavaScript repeats a 503
    without a pause. Raises ModelLoading.
    """
    wait = _flag(request, "x-wait-for-model", options.wait_for_model)
    may_load = _flag(request, "x-load-model", not options.dont_load_model) is not False
    if wait and may_load:
        return await service.readiness.loaded(card)
    wait_s = 0.0 if wait is False or not may_load else _wait_s(service, request)
    if may_load:
        loaded = await service.readiness.wait_until_loaded(card, wait_s)
    else:
        loaded = await service.readiness.loaded(card)
    if loaded is None:
        raise ModelLoading(f"Model {name} is currently loading", service.readiness.ready_in_s(card))
    return loaded


def _wait_s(service: GenerationService, request: Request) -> float:
    """The configured time, or less up to the request's deadline."""
    deadline = request_context(request)["deadline"]
    wait_s = service.config.model_wait_s
    return wait_s if deadline is None else max(0.0, min(wait_s, deadline - time()))


def _flag(request: Request, header: str, option: bool | None) -> bool | None:
    """Read a header that Hugging Face's clients send for an option, which it overrides."""
    value = request.headers.get(header, "").strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(value, option)


def _parse(content: bytes) -> Body:
    try:
        return Body.model_validate(_object(content))
    except ValidationError as error:
        raise InvalidRequest("; ".join(failures(error))) from error


def _object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest("The request's body must be a JSON object")
    return body


def _failure(error: Exception) -> JSONResponse:
    failure = as_serve_app_error(error)
    message = failure.message
    if isinstance(failure, InvalidRequest) and failure.field is not None:
        message = f"{failure.field}: {message}"
    answer: dict[str, Any] = {"error": message}
    if isinstance(failure, ModelLoading):
        answer["estimated_time"] = failure.retry_after_s or 1.0
    return JSONResponse(answer, status_code=failure.status, headers=failure.headers)
