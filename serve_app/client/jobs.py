"""Durable jobs as values: their state, their files, and the requests for them."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

import httpx
from pydantic import BaseModel, Field, ValidationError

from serve_app.client.answers import check_media_type
from serve_app.client.audio_input import Uploads
from serve_app.client.calls import Call, generation_call
from serve_app.client.fields import GenerationFields
from serve_app.client.problems import UNREADABLE, ApiError, bad_answer, failure
from serve_app.track_fields import TrackReport

JobStatus = Literal["queued", "running", "succeeded", "failed", "canceled"]
_JOBS = "/v1/jobs"
_ENDED = ("succeeded", "failed", "canceled")


class JobFields(GenerationFields, total=False):
    """Fields of a job besides those of a generation. Times are in seconds (docs/jobs.md)."""

    n: int
    priority: int
    webhook: dict[str, Any]
    upload: dict[str, Any]
    metadata: dict[str, Any]
    expires_in_s: float
    deadline_s: float


class JobFile(TrackReport, frozen=True, protected_namespaces=()):
    """A finished file of a job, and the facts of its track.

    url: a link that needs no key and expires; None for a file that was deleted or went elsewhere.
    """

    url: str | None
    type: str
    size_bytes: int
    sha256: str


class Job(BaseModel, frozen=True, protected_namespaces=()):
    """A job as the service told it last. Times are texts in UTC (RFC 3339).

    progress: 0 to 1; eta_s: estimated seconds until the end; result: empty until it has succeeded.
    """

    id: str
    status: JobStatus
    progress: float
    audio_s: float
    queue_position: int | None
    eta_s: float | None
    model: str
    seed: int
    request: dict[str, Any] | None
    priority: int
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    deadline_at: str | None
    expires_at: str | None
    attempt: int
    cancel_requested: bool
    result: Annotated[tuple[JobFile, ...], Field(repr=False)]
    error: dict[str, Any] | None
    cost_usd: float | None
    metadata: dict[str, Any]
    webhook: dict[str, Any] | None

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    def check(self) -> None:
        """Raise ApiError unless the job has succeeded or goes on."""
        if self.status == "canceled":
            raise ApiError(499, "request_aborted", f"Job {self.id} was canceled")
        if self.status == "failed":
            try:
                raise failure(self.error or {})
            except (KeyError, TypeError, ValueError) as error:
                raise bad_answer("the error of a failed job") from error


class JobPage(TypedDict):
    """A page of jobs. next_cursor: of the next one; None on the last one."""

    data: list[Job]
    next_cursor: str | None


def submit_call(
    prompt: str,
    uploads: Uploads,
    idempotency_key: str | None,
    fields: Mapping[str, Any],
) -> Call:
    """Build the request for a job. Raises as `generation_call`.

    It may be sent again in any case: without an idempotency key of the caller it has a random one.
    """
    own = JobFields.__annotations__.keys() - GenerationFields.__annotations__.keys()
    more = {name: value for name, value in fields.items() if name in own and value is not None}
    others: Any = {name: value for name, value in fields.items() if name not in own}
    body = generation_call(prompt, uploads, others, **more).content
    headers = {"idempotency-key": f'"{_checked_key(idempotency_key or str(uuid.uuid4()))}"'}
    return Call("POST", _JOBS, {**body, "headers": headers})


def job_call(job_id: str, wait_s: float | None = None) -> Call:
    """Build the request for a job's state; with `wait_s` the answer comes at its end, or then."""
    headers = {} if wait_s is None else {"prefer": f"wait={max(0, round(wait_s))}"}
    return Call("GET", _path(job_id), {"headers": headers})


def page_call(status: str | None, cursor: str | None, limit: int) -> Call:
    """Build the request for a page of jobs."""
    wanted = {"status": status, "cursor": cursor, "limit": limit}
    return Call("GET", _JOBS, {"params": {k: v for k, v in wanted.items() if v is not None}})


def cancel_call(job_id: str) -> Call:
    """Build the request that cancels a job."""
    return Call("POST", f"{_path(job_id)}/cancel")


def delete_call(job_id: str) -> Call:
    """Build the request that erases a job."""
    return Call("DELETE", _path(job_id))


def audio_call(job_id: str, number: int) -> Call:
    """Build the request for one of the job's files."""
    return Call("GET", f"{_path(job_id)}/audio/{number}")


def job_of(response: httpx.Response) -> Job:
    """Read a job. Raises ApiError."""
    try:
        return Job.model_validate(_json(response))
    except ValidationError as error:
        raise bad_answer("a valid job") from error


def page_of(response: httpx.Response) -> JobPage:
    """Read a page of jobs. Raises ApiError."""
    body = _json(response)
    try:
        jobs = [Job.model_validate(one) for one in body["data"]]
        return JobPage(data=jobs, next_cursor=body["next_cursor"])
    except (KeyError, TypeError, ValidationError) as error:
        raise bad_answer("a list of jobs") from error


def _path(job_id: str) -> str:
    """Path of a job. Raises ValueError for a text that is no id, which would lead elsewhere."""
    if not (job_id.isascii() and job_id.isalnum()):
        raise ValueError(f"{job_id!r} is no id of a job: it has letters and digits only")
    return f"{_JOBS}/{job_id}"


def _checked_key(key: str) -> str:
    if not key.isascii() or not key.isprintable() or any(one in key for one in '"\\'):
        raise ValueError("idempotency_key must be printable ASCII without quotes and backslashes")
    return key


def _json(response: httpx.Response) -> Any:
    check_media_type(response, "application/json")
    try:
        return response.json()
    except UNREADABLE as error:
        raise bad_answer("valid JSON") from error
