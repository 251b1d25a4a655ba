"""The servers that this one replaces: `POST /` of the serverless function, and `POST /generate`, `GET /health` and
`GET /stats` of the local server. Callers show their sentences to people, so they are kept to the letter.
"""

import asyncio
import base64
import json
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from serve_app.api import openapi
from serve_app.api.error_handlers import known, retry_after
from serve_app.api.openapi import contract_responses, json_content
from serve_app.api.routes.page import stats_page, wants_page
from serve_app.audio.file_format import Encoding
from serve_app.errors import DecoderUnavailable, InvalidRequest, Unauthorized
from serve_app.gateway.service import GenerationService
from serve_app.gateway.track import Track
from serve_app.types import GenerationRequest, LoadedModel, SamplingParams

_DECODERS = ("default", "multiband_diffusion")
_BODY = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "description": "What the music should be like."},
        "duration": {
            "type": "number",
            "minimum": 1,
            "maximum": 30,
            "default": 30,
            "description": "Seconds of music.",
        },
        "temperature": {"type": "number", "minimum": 0.1, "maximum": 2.0, "default": 1.0},
        "model": {"type": "string", "description": "A served model's id or alias."},
        "decoder": {"type": "string", "enum": list(_DECODERS), "default": "default"},
    },
}
_OPENAPI = openapi.body(json_content(_BODY))
_MADE = json_content({"type": "object", "required": ["success", "audio_base64", "prompt"]})
_SERVERLESS = contract_responses(_MADE, "detail", (400, 429, 500, 503))
_LOCAL = contract_responses(_MADE, "detail", (400,))


@dataclass(frozen=True)
class LegacyRequest:
    """A checked request. `model` is the served model's id; `duration` stays as it was given, to be given back so."""

    prompt: str
    duration: int | float
    temperature: float
    model: str
    decoder: str


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["existing callers"])

    @router.post(
        "/",
        openapi_extra=_OPENAPI,
        responses=_SERVERLESS,
        summary="Make music (serverless function)",
    )
    async def generate_serverless(request: Request) -> JSONResponse:
        """Answers with a base64 WAV; unknown fields are ignored. `400` for bad requests, `500` for failures."""
        try:
            legacy = await _read(request, service, ("model",))
            track = await _make_track(legacy, request, service)
            content, size = await _base64_wav(track)
        except Exception as error:  # the contract's shape, whatever happened
            return _failure(error)
        answer = {
            "success": True,
            "audio_base64": content,
            "prompt": legacy.prompt,
            "model": track.model.model_id,
        }
        return JSONResponse(answer | _made(legacy, track, size) | {"format": "wav"})

    @router.post(
        "/generate", openapi_extra=_OPENAPI, responses=_LOCAL, summary="Make music (local server)"
    )
    async def generate_local(request: Request) -> JSONResponse:
        """As `POST /`, `model_size` being older for `model`; the model's failure is `200` with `success: false`."""
        legacy = None
        try:
            legacy = await _read(request, service, ("model", "model_size"))
            track = await _make_track(legacy, request, service)
            content, size = await _base64_wav(track)
        except Exception as error:  # the contract's shape, whatever happened
            if legacy is None or isinstance(error, InvalidRequest):
                return _failure(error)
            answer = {"success": False, "audio_base64": None, "prompt": legacy.prompt}
            return JSONResponse(
                answer | {"error": f"Generation failed: {known(error).message}", "metadata": {}}
            )
        device = _device(await service.loaded(track.model))
        names = {"model": track.model.source, "model_size": track.model.model_id}
        metadata = (
            names | _made(legacy, track, size) | {"framework": "AudioCraft", "device": device}
        )
        answer = {"success": True, "audio_base64": content, "prompt": legacy.prompt, "error": None}
        return JSONResponse(answer | {"metadata": metadata})

    @router.get("/health", summary="Whether the service answers")
    async def health() -> dict[str, Any]:
        """Healthy while the service can take requests; `model_loaded` tells whether the default model is ready."""
        loaded = await service.loaded(service.router.default)
        return {"status": "healthy", "device": _device(loaded), "model_loaded": loaded is not None}

    @router.get(
        "/stats",
        response_model=dict[str, Any],
        responses=openapi.errors(Unauthorized) | {200: {"content": {"text/html": {}}}},
        summary="What the service is doing",
    )
    async def stats(request: Request) -> dict[str, Any] | Response:
        """What the default model runs on, and what every replica of every model is doing. A browser gets a page."""
        if wants_page(request.scope):
            return stats_page()
        models = {card.model_id: await service.replicas(card) for card in service.router.cards}
        model_id = service.router.default.model_id
        loaded = next((replica.model for replica in models[model_id]), None)
        return {
            "device": _device(loaded),
            "model_loaded": loaded is not None,
            "model_size": model_id,
            "cuda_available": _device(loaded) == "cuda",
            "models": {
                name: [asdict(replica.stats) for replica in replicas]
                for name, replicas in models.items()
            },
        }

    return router


def parse(body: Any, service: GenerationService, model_fields: tuple[str, ...]) -> LegacyRequest:
    """Check a body against the contract. Raises InvalidRequest with the contract's sentences.

    model_fields: the fields that may name the model; the first that is given wins.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("Request body must be a JSON object")
    prompt = body.get("prompt")
    prompt = service.check_prompt(prompt if isinstance(prompt, str) else "")
    duration = body.get("duration", 30)
    if not _is_number_within(duration, 1, 30):
        raise InvalidRequest("Duration must be between 1 and 30 seconds")
    temperature = body.get("temperature", 1.0)
    if not _is_number_within(temperature, 0.1, 2.0):
        raise InvalidRequest("Temperature must be between 0.1 and 2.0")
    names = service.router.names
    model = next((body[field] for field in model_fields if body.get(field) is not None), None)
    if model is not None and model not in names:
        raise InvalidRequest(f"Invalid model. Must be one of: {names}")
    decoder = body.get("decoder", "default")
    if decoder not in _DECODERS:
        raise InvalidRequest("Invalid decoder. Must be 'default' or 'multiband_diffusion'")
    if decoder != "default":
        raise DecoderUnavailable(
            f"Decoder '{decoder}' is not available: none of the models served here ({', '.join(names)}) is configured "
            "with it. Use 'default'."
        )
    return LegacyRequest(
        prompt, duration, float(temperature), service.router.resolve(model).model_id, decoder
    )


def _is_number_within(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


async def _read(
    request: Request, service: GenerationService, model_fields: tuple[str, ...]
) -> LegacyRequest:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("Request body must be a JSON object") from error
    return parse(body, service, model_fields)


async def _make_track(legacy: LegacyRequest, request: Request, service: GenerationService) -> Track:
    generation = GenerationRequest(
        request_id=request.state.request_id,
        caller=request.state.caller,
        deadline=request.state.deadline,
        prompt=legacy.prompt,
        duration_s=legacy.duration,
        model=legacy.model,
        sampling=SamplingParams(temperature=legacy.temperature),
    )
    return await service.make_track(generation)


async def _base64_wav(track: Track) -> tuple[str, int]:
    """The track as base64 of a WAV file, and the file's length before base64."""
    content = await track.encode(Encoding())
    text = await asyncio.to_thread(base64.b64encode, content)
    return text.decode("ascii"), len(content)


def _made(legacy: LegacyRequest, track: Track, size: int) -> dict[str, Any]:
    """What both contracts tell of a track."""
    return {
        "decoder": legacy.decoder,
        "duration": legacy.duration,
        "sample_rate": track.sample_rate,
        "size_bytes": size,
        "generation_time_seconds": round(track.timings.generation_s, 2),
    }


def _device(loaded: LoadedModel | None) -> str:
    return loaded.device if loaded else "unknown"


def _failure(error: Exception) -> JSONResponse:
    failure = known(error)
    if isinstance(failure, InvalidRequest):
        return JSONResponse({"detail": failure.message}, status_code=400)
    detail = {"detail": f"Generation failed: {failure.message}"}
    return JSONResponse(detail, status_code=failure.status, headers=retry_after(failure))
