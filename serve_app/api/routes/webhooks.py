"""Webhooks of jobs: their secrets, and messages that are sent again."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from serve_app.api import openapi
from serve_app.api.documented_jobs import JOB_ERRORS, job_responses
from serve_app.api.paths import JOBS
from serve_app.api.request_context import request_context
from serve_app.api.schemas.jobs import Redelivery, WebhookSecrets
from serve_app.jobs.service import JobService

_DAY_S = 86_400.0
_WEEK_S = 604_800.0
_NO_STORE = {"cache-control": "no-store"}


def create_router(jobs: JobService) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.get(
        "/v1/webhooks/secret",
        response_model=WebhookSecrets,
        responses=openapi.errors(*JOB_ERRORS),
        summary="Tell the webhooks' secret",
    )
    async def webhook_secret(request: Request) -> JSONResponse:
        """Tells the secrets that sign the webhooks of this API key. The first call draws one."""
        return await _secrets(jobs, request_context(request)["caller"])

    @router.post(
        "/v1/webhooks/secret/rotate",
        response_model=WebhookSecrets,
        responses=openapi.errors(*JOB_ERRORS),
        summary="Replace the webhooks' secret",
    )
    async def rotate_secret(
        request: Request,
        overlap_s: Annotated[
            float,
            Query(
                ge=0.0,
                le=_WEEK_S,
                allow_inf_nan=False,
                description="Seconds for which the earlier secrets sign beside the new one.",
            ),
        ] = _DAY_S,
    ) -> JSONResponse:
        """Draws a new secret; for a time messages are signed with the earlier ones, too."""
        owner = request_context(request)["caller"]
        await jobs.store.rotate_webhook_secret(owner, overlap_s)
        return await _secrets(jobs, owner)

    @router.post(
        f"{JOBS}/{{job_id}}/webhook/redeliver",
        responses=job_responses(),
        summary="Send webhooks again",
    )
    async def redeliver(job_id: str, request: Request) -> Redelivery:
        """Sends the latest message of each event again, with its `webhook-id`."""
        owner = request_context(request)["caller"]
        return Redelivery(deliveries=await jobs.redeliver(owner, job_id))

    return router


async def _secrets(jobs: JobService, owner: str) -> JSONResponse:
    secrets = await jobs.store.webhook_secrets(owner)
    answer = WebhookSecrets(secret=secrets[0], secrets=secrets)
    return JSONResponse(answer.model_dump(), headers=_NO_STORE)
