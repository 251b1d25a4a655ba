"""Health checks: `GET /health` says whether requests are taken, `GET /health/live` that HTTP answers."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from serve_app.api.openapi import json_content
from serve_app.api.paths import HEALTH, LIVE
from serve_app.gateway.service import GenerationService
from serve_app.model_status import LoadedModel

_STARTING: dict[int | str, dict[str, Any]] = {
    503: {
        "description": "`starting`: the default model has not been ready yet",
        "content": json_content({"type": "object", "required": ["status"]}),
    }
}


def create_router(service: GenerationService) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get(
        HEALTH,
        response_model=dict[str, Any],
        responses=_STARTING,
        summary="Whether the service takes requests",
    )
    async def health() -> JSONResponse:
        """Answers `503` until the default model has been ready once, and `200` from then on.

        `model_loaded`: whether the default model is ready. `200` from the start if the model may have
        no replica: a request starts one. `reason`: why no node of the cluster can run the model;
        `reasons`: the same of each model that no node can run.
        """
        default = service.router.default
        loaded = await service.readiness.loaded(default)
        starting = service.readiness.is_starting(default)
        answer = {
            "status": "starting" if starting else "healthy",
            "device": device_of(loaded),
            "model_loaded": loaded is not None,
        }
        answer |= _reasons(service)
        if starting:
            return JSONResponse(answer, status_code=503, headers={"retry-after": "1"})
        return JSONResponse(answer)

    @router.get(LIVE, summary="Whether HTTP answers")
    async def live() -> dict[str, str]:
        """Answers as soon as the process takes connections, whether or not a model is ready."""
        return {"status": "alive"}

    return router


def _reasons(service: GenerationService) -> dict[str, Any]:
    """Name the models that no node can run, if there are any."""
    cards = service.router.cards
    notices = {card.model_id: service.readiness.notice(card) for card in cards}
    reasons = {model_id: notice for model_id, notice in notices.items() if notice is not None}
    default = reasons.get(service.router.default.model_id)
    of_default = {} if default is None else {"reason": default}
    return of_default | ({"reasons": reasons} if reasons else {})


def device_of(loaded: LoadedModel | None) -> str:
    """Name the device of a loaded model; `unknown` while no replica is ready."""
    return loaded.device if loaded else "unknown"
