"""Replicate's API: routes that are not served, whose answers name those that are."""

from fastapi import APIRouter, HTTPException, Request, Response

from serve_app.api.allowed_methods import UNSERVED
from serve_app.api.paths import FILES

_MODEL = "/v1/models/{owner}/{name}"
_DEPLOYMENT = "/v1/deployments/{owner}/{name}"
_UNSERVED = {
    FILES: ("GET",),
    f"{FILES}/{{file_id}}/download": ("GET",),
    "/v1/models": ("POST", "QUERY"),
    _MODEL: ("PATCH", "DELETE"),
    f"{_MODEL}/examples": ("GET",),
    f"{_MODEL}/readme": ("GET",),
    f"{_MODEL}/versions/{{version_id}}": ("DELETE",),
    f"{_MODEL}/versions/{{version_id}}/trainings": ("POST",),
    "/v1/trainings": ("GET", "POST"),
    "/v1/trainings/{training_id}": ("GET",),
    "/v1/trainings/{training_id}/cancel": ("POST",),
    "/v1/deployments": ("GET", "POST"),
    _DEPLOYMENT: ("GET", "PATCH", "DELETE"),
    "/v1/collections": ("GET",),
    "/v1/collections/{slug}": ("GET",),
    "/v1/hardware": ("GET",),
    "/v1/account": ("GET",),
    "/v1/search": ("GET",),
}


def create_router() -> APIRouter:
    """Answer the routes with 404."""
    router = APIRouter(include_in_schema=False, tags=[UNSERVED])
    for path, methods in _UNSERVED.items():
        router.add_api_route(path, _refuse, methods=list(methods))
    return router


async def _refuse(request: Request) -> Response:
    raise HTTPException(
        404,
        f"{request.method} {request.url.path} is not served here: of Replicate's API there are "
        "predictions, also of models and deployments, GET /v1/models and its versions, /v1/files "
        "without its list, and /v1/webhooks/default/secret",
    )
