"""Routes of jobs where the service keeps none."""

from fastapi import APIRouter

from serve_app.api.paths import FILES, JOBS, PREDICTIONS
from serve_app.jobs.errors import JobsDisabled

_METHODS = ["GET", "HEAD", "POST", "DELETE"]
_PATHS = (JOBS, JOBS + "/{path:path}", "/v1/webhooks/{path:path}")
_PATHS_OF_REPLICATE = (
    PREDICTIONS, PREDICTIONS + "/{path:path}", FILES, FILES + "/{path:path}",
    "/v1/models/{owner}/{name}/predictions", "/v1/deployments/{owner}/{name}/predictions",
)  # fmt: skip


def create_router(reason: str, *, with_replicate: bool) -> APIRouter:
    """Answer all routes of jobs with 503.

    reason: says what the operator can do; with_replicate: whether Replicate's clients are served.
    """
    router = APIRouter(include_in_schema=False)

    async def refuse() -> None:
        raise JobsDisabled(reason)

    for path in _PATHS + (_PATHS_OF_REPLICATE if with_replicate else ()):
        router.add_api_route(path, refuse, methods=_METHODS)
    return router
