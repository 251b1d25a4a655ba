"""Routes of the servers that this one replaces, with their contracts: `POST /` of the serverless
function; `POST /generate` and `GET /stats` of the local server.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from serve_app.api import openapi
from serve_app.api.content_negotiation import wants_page
from serve_app.api.error_handlers import as_serve_app_error
from serve_app.api.errors import OriginNotAllowed
from serve_app.api.openapi import contract_responses, json_content
from serve_app.api.request_context import decoded_melody, request_context
from serve_app.api.routes.health import device_of
from serve_app.api.routes.huggingface import answer_at_root, names_inputs
from serve_app.api.routes.legacy_request import BODY_SCHEMA, MELODY, LegacyRequest
from serve_app.api.routes.page import stats_page
from serve_app.api.uploaded_audio import Uploads, audio_content
from serve_app.audio.file_format import Encoding
from serve_app.errors import InvalidRequest, Unauthorized
from serve_app.gateway.service import GenerationService
from serve_app.gateway.track import Track
from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.track_fields import to_headers
from serve_app.types import GenerationRequest, SamplingParams

_MARK = to_headers({"digital_source_type": DIGITAL_SOURCE_TYPE})  # the contracts have no field
_OPENAPI = openapi.body(json_content(BODY_SCHEMA))
_MADE = json_content({"type": "object", "required": ["success", "audio_base64", "prompt"]})
_SERVERLESS = contract_responses(_MADE, "detail", (400, 429, 500, 503))
_LOCAL = contract_responses(_MADE, "detail", (400,))


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["existing callers"])
    with_inference = "huggingface" in service.config.dialects

    @router.post(
        "/",
        openapi_extra=_OPENAPI,
        responses=_SERVERLESS,
        summary="Make music (serverless function)",
    )
    async def generate_serverless(request: Request) -> Response:
        """Answers with a base64 WAV.

        Unknown fields are ignored. `400`: bad request; `500`: failure. A request of Hugging Face's
        clients, with `inputs` and without `prompt`, is answered as theirs, by the default model.
        """
        if with_inference and names_inputs(_object(await request.body())):
            return await answer_at_root(service, request)
        try:
            return await _serverless(request, service)
        except Exception as error:  # any error has the contract's shape
            return _failure(error)

    @router.post(
        "/generate", openapi_extra=_OPENAPI, responses=_LOCAL, summary="Make music (local server)"
    )
    async def generate_local(request: Request) -> JSONResponse:
        """Answers as `POST /` does. `model_size` is an older name of `model`. A failure of the
        model is `200` with `success: false`."""
        try:
            legacy = await _read(request, service, ("model", "model_size"))
        except Exception as error:  # any error has the contract's shape
            return _failure(error)
        return await _local(legacy, request, service)

    @router.get(
        "/stats",
        response_model=dict[str, Any],
        responses=openapi.errors(Unauthorized, OriginNotAllowed)
        | {200: {"content": {"text/html": {}}}},
        summary="State of the service",
    )
    async def stats(request: Request) -> dict[str, Any] | Response:
        """Tells the default model's device and the state of every replica of every model.

        A browser gets a page.
        """
        return stats_page() if wants_page(request.scope) else await _stats(service)

    return router


async def _serverless(request: Request, service: GenerationService) -> JSONResponse:
    legacy = await _read(request, service, ("model",))
    track = await _make_track(legacy, request, service)
    content, size = await _base64_wav(track)
    answer = {
        "success": True,
        "audio_base64": content,
        "prompt": legacy.prompt,
        "model": track.model.model_id,
    }
    answer |= _made(legacy, track, size) | {"format": "wav"}
    return JSONResponse(answer, headers=_MARK)


async def _local(
    legacy: LegacyRequest, request: Request, service: GenerationService
) -> JSONResponse:
    try:
        track = await _make_track(legacy, request, service)
        content, size = await _base64_wav(track)
        metadata = await _metadata(legacy, track, size, service)
    except InvalidRequest as error:
        return _failure(error)
    except Exception as error:  # any error has the contract's shape
        failure = f"Generation failed: {as_serve_app_error(error).message}"
        return _local_answer(legacy, None, failure, {})
    return _local_answer(legacy, content, None, metadata)


async def _metadata(
    legacy: LegacyRequest, track: Track, size: int, service: GenerationService
) -> dict[str, Any]:
    loaded = await service.readiness.loaded(track.model)
    return {
        "model": track.model.source,
        "model_size": track.model.model_id,
        **_made(legacy, track, size),
        "framework": "AudioCraft",
        "device": device_of(loaded),
    }


def _local_answer(
    legacy: LegacyRequest, content: str | None, error: str | None, metadata: dict[str, Any]
) -> JSONResponse:
    answer = {
        "success": error is None,
        "audio_base64": content,
        "prompt": legacy.prompt,
        "error": error,
        "metadata": metadata,
    }
    return JSONResponse(answer, headers=None if content is None else _MARK)


async def _stats(service: GenerationService) -> dict[str, Any]:
    router = service.router
    models = {card.model_id: await service.readiness.replicas(card) for card in router.cards}
    model_id = router.default.model_id
    loaded = next((replica.model for replica in models[model_id]), None)
    return {
        "device": device_of(loaded),
        "model_loaded": loaded is not None,
        "model_size": model_id,
        "cuda_available": device_of(loaded) == "cuda",
        "models": {
            name: [asdict(replica.stats) for replica in replicas]
            for name, replicas in models.items()
        },
    }


async def _read(
    request: Request, service: GenerationService, model_fields: Sequence[str]
) -> LegacyRequest:
    return LegacyRequest.parse(_object(await request.body()), service, model_fields)


def _object(content: bytes) -> Any:
    """Parse a JSON body; None for other content."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


async def _make_track(legacy: LegacyRequest, request: Request, service: GenerationService) -> Track:
    card = legacy.model
    melody = None if legacy.melody is None else await audio_content(legacy.melody, MELODY)
    if melody is not None:
        await service.selector.melody_models.check(card, legacy.model_name)
    generation = GenerationRequest(
        **request_context(request),
        prompt=legacy.prompt,
        duration_s=legacy.duration,
        model=card.model_id,
        sampling=SamplingParams(temperature=legacy.temperature),
        decoder=legacy.decoder_of_codes,
        melody=await decoded_melody(service, Uploads(melody=melody), card, legacy.duration),
        sample_bits=16,
    )
    await service.check_file(card, Encoding())
    return await service.make_track(generation, card)


async def _base64_wav(track: Track) -> tuple[str, int]:
    """Encode the track as a WAV file; return it as base64, and its length before base64."""
    content = await track.encode(Encoding())
    text = await asyncio.to_thread(base64.b64encode, content)
    return text.decode("ascii"), len(content)


def _made(legacy: LegacyRequest, track: Track, size: int) -> dict[str, Any]:
    """The facts of a track that both contracts tell."""
    report = track.report()
    return {
        "decoder": legacy.decoder,
        "duration": legacy.duration,
        "sample_rate": report.sample_rate,
        "size_bytes": size,
        "generation_time_seconds": round(report.generation_s, 2),
    }


def _failure(error: Exception) -> JSONResponse:
    failure = as_serve_app_error(error)
    if isinstance(failure, InvalidRequest):
        return JSONResponse({"detail": failure.message}, status_code=400)
    detail = {"detail": f"Generation failed: {failure.message}"}
    return JSONResponse(detail, status_code=failure.status, headers=failure.headers)
