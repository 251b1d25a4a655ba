"""`/v1/jobs`: requests for tracks that outlive their connection."""

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from serve_app.api import openapi
from serve_app.api.base_url import base_url
from serve_app.api.body_reader import job_content, read_job
from serve_app.api.documented_jobs import (
    IDEMPOTENCY_KEY,
    JOB_ERRORS,
    PREFER,
    job_responses,
    submission_responses,
)
from serve_app.api.idempotency import body_sha256, idempotency_key
from serve_app.api.paths import JOBS
from serve_app.api.preferences import preferences
from serve_app.api.query import takes_declared_query
from serve_app.api.request_context import request_context
from serve_app.api.schemas.jobs import JobBody, JobList
from serve_app.api.uploaded_audio import UploadedAudio, names_files
from serve_app.errors import InvalidRequest
from serve_app.jobs.description import JobDescription
from serve_app.jobs.ids import is_id
from serve_app.jobs.intake import Submission
from serve_app.jobs.job import Job, JobStatus, Upload
from serve_app.jobs.service import JobService

_MOST_RETRY_AFTER_S = 60


def create_router(jobs: JobService) -> APIRouter:
    router = APIRouter(tags=["jobs"], dependencies=[Depends(takes_declared_query)])
    uploaded = UploadedAudio(jobs, jobs.generation.config.max_upload_bytes)

    @router.post(
        JOBS,
        status_code=202,
        response_model=JobDescription,
        responses=submission_responses(),
        openapi_extra=openapi.body(job_content()) | {"parameters": [PREFER, IDEMPOTENCY_KEY]},
        summary="Make a job",
    )
    async def create_job(request: Request) -> JSONResponse:
        """Accepts a request for tracks and answers before they are made, with the job.

        `Prefer: wait=N` waits up to N seconds (60 at most) for its end, and then answers `200`.
        """
        wanted = preferences(request.headers)
        job = await _accepted(request, jobs, uploaded)
        if wanted.wait_s is not None:
            job = await jobs.wait(job, wanted.wait_s)
        headers = {"location": f"{jobs.links.at(base_url(request))}{JOBS}/{job.id}"}
        answer = await _described(jobs, job, headers | wanted.applied)
        answer.status_code = 200 if job.status.is_final else 202
        return answer

    @router.get(JOBS, responses=openapi.errors(*JOB_ERRORS), summary="List jobs")
    async def list_jobs(
        request: Request,
        status: Annotated[JobStatus | None, Query(description="Only jobs of this status.")] = None,
        cursor: Annotated[
            str | None, Query(description="`next_cursor` of the page before.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=100, description="Jobs on a page.")] = 20,
    ) -> JobList:
        """Lists the jobs of the API key, the newest first."""
        if cursor is not None and not is_id(cursor):
            raise InvalidRequest("cursor is not one of this service's: use a page's next_cursor")
        owner = request_context(request)["caller"]
        page, following = await jobs.page(owner, status, cursor, limit)
        described = [JobDescription.of(job, jobs.links) for job in page]
        return JobList(data=described, next_cursor=following)

    @router.get(
        f"{JOBS}/{{job_id}}",
        response_model=JobDescription,
        responses=job_responses(),
        openapi_extra={"parameters": [PREFER]},
        summary="Fetch a job",
    )
    async def fetch_job(job_id: str, request: Request) -> JSONResponse:
        """Tells the state of a job. `Prefer: wait=N` waits up to N seconds for its end."""
        wanted = preferences(request.headers)
        job = await jobs.get(request_context(request)["caller"], job_id)
        if wanted.wait_s is None:
            return await _described(jobs, job)
        return await _described(jobs, await jobs.wait(job, wanted.wait_s), wanted.applied)

    @router.post(
        f"{JOBS}/{{job_id}}/cancel",
        response_model=JobDescription,
        responses=job_responses(),
        summary="Cancel a job",
    )
    async def cancel_job(job_id: str, request: Request) -> JSONResponse:
        """Cancels a queued job at once, and asks a running one to stop. A repetition is no error."""
        return await _described(jobs, await jobs.cancel(request_context(request)["caller"], job_id))

    @router.delete(
        f"{JOBS}/{{job_id}}",
        status_code=204,
        response_class=Response,
        responses=job_responses(),
        summary="Delete a job",
    )
    async def delete_job(job_id: str, request: Request) -> Response:
        """Erases a job with its prompt, its uploads and its audio. A running one stops."""
        await jobs.delete(request_context(request)["caller"], job_id)
        return Response(status_code=204)

    return router


async def _accepted(request: Request, jobs: JobService, uploaded: UploadedAudio) -> Job:
    """Accept a job, or find that of its idempotency key, also when a file it names is gone by now."""
    body, fields = await read_job(request)
    asked = await _submission(request, body, fields)
    if names_files(body.audio_prompt, body.melody):
        earlier = await jobs.repeated(asked.owner, asked.idempotency_key, asked.body_sha256)
        if earlier is not None:
            return earlier
    uploads = await uploaded.both(asked.owner, body.audio_prompt, body.melody)
    complete = replace(asked, audio_prompt=uploads.audio_prompt, melody=uploads.melody)
    job, _ = await jobs.submit(complete)
    return job


async def _submission(request: Request, body: JobBody, fields: dict[str, object]) -> Submission:
    """Collect what a request asks for, but for its uploads. Raises InvalidRequest."""
    key = idempotency_key(request.headers)
    webhook = body.webhook
    upload = body.upload
    return Submission(
        owner=request_context(request)["caller"],
        request=body.request(),
        max_wait_s=body.max_wait_s,
        priority=body.priority,
        webhook=None if webhook is None else webhook.webhook(),
        upload=None if upload is None else Upload(url=upload.url, headers=upload.headers),
        metadata=body.metadata,
        details={"base_url": base_url(request)},
        deadline_s=body.deadline_s,
        expires_in_s=body.expires_in_s,
        idempotency_key=key,
        body_sha256="" if key is None else await asyncio.to_thread(body_sha256, fields),
    )


async def _described(
    jobs: JobService, job: Job, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Answer with a job; of an unfinished one say when to ask again."""
    description = await jobs.describe(job)
    sent = {"cache-control": "no-store", **(headers or {})}
    if not job.status.is_final:
        eta_s = min(_MOST_RETRY_AFTER_S, int(description.eta_s or 1.0))
        sent["retry-after"] = str(max(1, eta_s))
    return JSONResponse(description.model_dump(mode="json"), headers=sent)
