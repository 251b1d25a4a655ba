"""Health checks: `GET /health` says whether requests are taken, `GET /health/live` that HTTP answers."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from serve_app.api.openapi import json_content
from serve_app.api.paths import HEALTH, LIVE
from serve_app.gateway.service import GenerationService
from serve_app.types import LoadedModel

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
        no replica: a request starts one. `reason`: why no node of the cluster can run the model.
        """
        default = service.router.default
        loaded = await service.readiness.loaded(default)
        starting = service.readiness.is_starting(default)
        answer = {
            "status": "starting" if starting else "healthy",
            "device": device_of(loaded),
            "model_loaded": loaded is not None,
        }
        if (reason := service.readiness.obstacle(default)) is not None:
            answer["reason"] = reason
        if starting:
            return JSONResponse(answer, status_code=503, headers={"retry-after": "1"})
        return JSONResponse(answer)

    @router.get(LIVE, summary="Whether HTTP answers")
    async def live() -> dict[str, str]:
        """Answers as soon as the process takes connections, whether or not a model is ready."""
        return {"status": "alive"}

    return router


def device_of(loaded: LoadedModel | None) -> str:
    """Name the device of a loaded model; `unknown` while no replica is ready."""
    return loaded.device if loaded else "unknown"
