"""Replicate's API: predictions (replicate.com/docs/reference/http)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse

from serve_app.api import openapi
from serve_app.api.base_url import base_url
from serve_app.api.documented_jobs import (
    EVENTS,
    IDEMPOTENCY_KEY,
    JOB_ERRORS,
    PREFER,
    job_responses,
    prediction_responses,
)
from serve_app.api.errors import InvalidInput
from serve_app.api.ignored_fields import ignored_header
from serve_app.api.paths import PREDICTIONS
from serve_app.api.preferences import preferences
from serve_app.api.replicate_body import prediction_body
from serve_app.api.replicate_models import NamedModel
from serve_app.api.replicate_predictions import Predictions
from serve_app.api.request_context import request_context
from serve_app.api.schemas.replicate import PredictionBody, PredictionPage, WebhookKey
from serve_app.errors import InvalidRequest
from serve_app.jobs.ids import is_id
from serve_app.jobs.prediction import Prediction, prediction_of, stream_purpose

_TAGS = ["Replicate clients"]
_PAGE = 100
_MARGIN_S = 0.25  # clients give up half a second after the time that they wait for
_CANCEL_S = 2.0  # to wait for the end of a prediction that is cancelled
_NO_STORE = {"cache-control": "no-store"}
_OPENAPI: dict[str, Any] = openapi.body(openapi.json_content(openapi.schema_of(PredictionBody))) | {
    "parameters": [PREFER, IDEMPOTENCY_KEY]
}


def create_router(predictions: Predictions) -> APIRouter:
    router = APIRouter(tags=list(_TAGS))
    _add_creation(router, predictions)
    _add_reading(router, predictions)
    return router


def _add_creation(router: APIRouter, predictions: Predictions) -> None:
    """Add the routes that make predictions: by version, by model, by deployment."""
    documented: dict[str, Any] = {
        "status_code": 201,
        "response_model": Prediction,
        "responses": prediction_responses(),
        "openapi_extra": _OPENAPI,
    }

    @router.post(PREDICTIONS, summary="Make a prediction by a version", **documented)
    async def create_by_version(request: Request) -> JSONResponse:
        """Makes a track with the input of `meta/musicgen`."""
        body = prediction_body(await request.body())
        if body.version is None:
            raise InvalidInput("version: is required, or post to /v1/models/OWNER/NAME/predictions")
        return await _created(request, body, predictions.models.of_version(body.version))

    @router.post(
        "/v1/models/{owner}/{name}/predictions",
        summary="Make a prediction by a model",
        **documented,
    )
    async def create_by_model(owner: str, name: str, request: Request) -> JSONResponse:
        """Makes a track; `meta/musicgen` is the default model, or that of `model_version`."""
        return await _created_by_name(request, f"{owner}/{name}")

    @router.post(
        "/v1/deployments/{owner}/{name}/predictions",
        summary="Make a prediction by a deployment",
        **documented,
    )
    async def create_by_deployment(owner: str, name: str, request: Request) -> JSONResponse:
        """Makes a track with the model that `name` is an id or an alias of."""
        return await _created_by_name(request, f"{owner}/{name}")

    async def _created_by_name(request: Request, name: str) -> JSONResponse:
        body = prediction_body(await request.body())
        return await _created(request, body, predictions.models.agreed(name, body.version))

    async def _created(request: Request, body: PredictionBody, model: NamedModel) -> JSONResponse:
        """Accept a prediction, and wait for its end as `Prefer: wait` asks.

        One that is unfinished is `starting`: clients take `processing` for the end.
        """
        wanted = preferences(request.headers)
        owner = request_context(request)["caller"]
        job = await predictions.create(request, owner, body, model)
        if wanted.wait_s is not None:
            job = await predictions.jobs.wait(job, max(0.0, wanted.wait_s - _MARGIN_S))
        prediction = await predictions.describe(job)
        if not job.status.is_final:
            prediction = prediction.model_copy(update={"status": "starting"})
        return _answer(prediction, 201, wanted.applied | ignored_header(body.ignored))


def _add_reading(router: APIRouter, predictions: Predictions) -> None:
    """Add the routes that tell of predictions and end them."""
    jobs = predictions.jobs

    @router.get(PREDICTIONS, responses=openapi.errors(*JOB_ERRORS), summary="List predictions")
    async def list_predictions(
        request: Request,
        cursor: Annotated[str | None, Query(description="That of `next`.")] = None,
    ) -> PredictionPage:
        """Lists the predictions and other jobs of the API key, the newest first."""
        if cursor is not None and not is_id(cursor):
            raise InvalidRequest("cursor is not one of this service's: use the address in `next`")
        owner = request_context(request)["caller"]
        page, following = await jobs.page(owner, None, cursor, _PAGE)
        base = jobs.links.at(base_url(request))
        address = following and f"{base}{PREDICTIONS}?cursor={following}"
        return PredictionPage(
            results=[prediction_of(job, jobs.links) for job in page], next=address
        )

    @router.get(
        f"{PREDICTIONS}/{{job_id}}",
        response_model=Prediction,
        responses=job_responses(),
        summary="Fetch a prediction",
    )
    async def fetch_prediction(job_id: str, request: Request) -> JSONResponse:
        """Tells the state of a prediction."""
        job = await jobs.get(request_context(request)["caller"], job_id)
        return _answer(await predictions.describe(job))

    @router.post(
        f"{PREDICTIONS}/{{job_id}}/cancel",
        response_model=Prediction,
        responses=job_responses(),
        summary="Cancel a prediction",
    )
    async def cancel_prediction(job_id: str, request: Request) -> JSONResponse:
        """Cancels a prediction; a running one stops within a second or so."""
        job = await jobs.cancel(request_context(request)["caller"], job_id)
        return _answer(await predictions.describe(await jobs.wait(job, _CANCEL_S)))

    @router.get(
        f"{PREDICTIONS}/{{job_id}}/stream",
        response_class=Response,
        responses=job_responses() | {200: EVENTS},
        summary="Follow a prediction",
    )
    async def stream_prediction(
        job_id: str,
        request: Request,
        token: Annotated[str | None, Query(description="That of `urls.stream`.")] = None,
    ) -> Response:
        """Sends server-sent events: `logs`, `output` or `error`, and `done`."""
        owner = request_context(request)["caller"]
        if token is not None:
            owner = jobs.links.value_of(stream_purpose(job_id), token)
        job = await jobs.get(owner, job_id)
        return EventSourceResponse(predictions.events(job), headers=_NO_STORE)

    @router.get(
        "/v1/webhooks/default/secret",
        responses=openapi.errors(*JOB_ERRORS),
        summary="Tell the webhooks' secret",
    )
    async def default_secret(request: Request) -> WebhookKey:
        """Tells the newest secret of the API key."""
        [newest, *_] = await jobs.store.webhook_secrets(request_context(request)["caller"])
        return WebhookKey(key=newest)


def _answer(
    prediction: Prediction, status: int = 200, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(
        prediction.model_dump(mode="json"), status, headers=_NO_STORE | (headers or {})
    )
