"""Files and events of jobs: `/v1/jobs/{job_id}/audio` and `/v1/jobs/{job_id}/events`."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from serve_app.api.documented_jobs import LAST_EVENT_ID, events_responses, file_responses
from serve_app.api.file_response import file_response
from serve_app.api.paths import JOBS
from serve_app.api.request_context import request_context
from serve_app.jobs.errors import JobNotFound
from serve_app.jobs.job import Job
from serve_app.jobs.service import JobService

_COMMENT = b": waiting\n\n"
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
Token = Annotated[str | None, Query(description="Token of a signed link, instead of a key.")]


def create_router(jobs: JobService) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.head(f"{JOBS}/{{job_id}}/audio", include_in_schema=False)
    @router.get(
        f"{JOBS}/{{job_id}}/audio",
        response_class=Response,
        responses=file_responses(),
        summary="Fetch the file of a job",
    )
    async def fetch_audio(job_id: str, request: Request, token: Token = None) -> Response:
        """Sends the first file, whole or in ranges."""
        return await _audio(jobs, request, (job_id, 0), token)

    @router.head(f"{JOBS}/{{job_id}}/audio/{{number}}", include_in_schema=False)
    @router.get(
        f"{JOBS}/{{job_id}}/audio/{{number}}",
        response_class=Response,
        responses=file_responses(),
        summary="Fetch one of the files of a job",
    )
    async def fetch_variation(
        job_id: str, number: str, request: Request, token: Token = None
    ) -> Response:
        """Sends a file by its number, from 0, whole or in ranges."""
        if not _NUMBER.fullmatch(number):
            raise JobNotFound("The number of a file must be 0 or above")
        return await _audio(jobs, request, (job_id, int(number)), token)

    @router.get(
        f"{JOBS}/{{job_id}}/events",
        response_class=Response,
        responses=events_responses(),
        openapi_extra={"parameters": [LAST_EVENT_ID]},
        summary="Follow a job",
    )
    async def follow_job(job_id: str, request: Request) -> Response:
        """Sends the job as server-sent events `progress` at each change, and `completed` at its end.

        `id` of an event is the job's version: with `Last-Event-ID` only later ones are sent, and
        `204` when there will be none, at which browsers stop to reconnect.
        """
        owner = request_context(request)["caller"]
        job = await jobs.get(owner, job_id)
        after = _last_event(request)
        if job.status.is_final and job.version <= after:
            return Response(status_code=204)
        changes = jobs.changes(owner, job.id, after)
        return EventSourceResponse(_events(jobs, changes), headers={"cache-control": "no-store"})

    return router


async def _audio(
    jobs: JobService, request: Request, place: tuple[str, int], token: str | None
) -> Response:
    """Answer with a file. place: id of the job, and number."""
    if token is not None:
        file = await jobs.linked_file(*place, token)
    else:
        file = await jobs.file(request_context(request)["caller"], *place)
    return file_response(request, file, jobs.results.read)


def _last_event(request: Request) -> int:
    """Read the version that the client has seen; 0 without a valid one."""
    value = request.headers.get("last-event-id", "").strip()
    return int(value) if _NUMBER.fullmatch(value) else 0


async def _events(jobs: JobService, changes: AsyncIterator[Job | None]) -> AsyncIterator[bytes]:
    """Render the changes; a comment shows that the connection lives while nothing changes."""
    yield _COMMENT
    async for job in changes:
        if job is None:
            yield _COMMENT
            continue
        name = "completed" if job.status.is_final else "progress"
        data = (await jobs.describe(job)).model_dump_json()
        yield format_sse_event(event=name, data_str=data, id=str(job.version))
