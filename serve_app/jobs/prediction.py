"""Jobs as predictions, in Replicate's form (replicate.com/docs/reference/http)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serve_app.errors import DeadlineExceeded
from serve_app.jobs.clock import iso
from serve_app.jobs.job import Job, JobStatus
from serve_app.jobs.links import Grant, Links

DETAILS = "prediction"  # key in Job.details
_BAR_WIDTH = 20
Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]
_STATUSES: dict[JobStatus, Status] = {
    JobStatus.QUEUED: "starting",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "canceled",
}


class Prediction(BaseModel, protected_namespaces=()):
    """A prediction. `model` and `version` are never null: Replicate's clients validate them."""

    id: Annotated[str, Field(description="Id of the prediction, which is also that of a job.")]
    model: Annotated[str, Field(description="Model as it was named, `owner/name`.")]
    version: Annotated[str, Field(description="Version of the model.")]
    input: Annotated[dict[str, Any], Field(description="Input as sent, without data URLs.")]
    logs: Annotated[str, Field(description="The seed, and the progress as tqdm prints it.")]
    output: Annotated[
        str | None,
        Field(
            description="The file: a signed `https` address; where the service is reached by "
            "`http`, a data URL, or the `http` address of a larger file."
        ),
    ]
    data_removed: Annotated[bool, Field(description="Whether the file has been deleted.")]
    error: Annotated[str | None, Field(description="Reason of a failure.")]
    status: Annotated[Status, Field(description="The last three are final.")]
    source: Literal["api"] = "api"
    created_at: Annotated[str | None, Field(description="Time of the request.")]
    started_at: Annotated[str | None, Field(description="Time of the start.")]
    completed_at: Annotated[str | None, Field(description="Time of the end.")]
    metrics: Annotated[dict[str, float], Field(description="Seconds it took, once it has ended.")]
    urls: Annotated[dict[str, str], Field(description="Addresses of the prediction.")]


def prediction_of(job: Job, links: Links) -> Prediction:
    """Describe a job as a prediction; its output is an address."""
    told = job.details.get(DETAILS, {})
    return Prediction(
        id=job.id,
        model=told.get("model", job.request.model),
        version=told.get("version", job.request.model),
        input=told.get("input", {}),
        logs=logs_of(job),
        output=links.audio(job, 0) if job.results else None,
        data_removed=job.results_deleted,
        error=None if job.error is None else str(job.error.get("detail", job.error)),
        status=status_of(job),
        created_at=iso(job.created_at),
        started_at=iso(job.started_at),
        completed_at=iso(job.finished_at),
        metrics=_metrics(job),
        urls=_urls(job, links),
    )


def status_of(job: Job) -> Status:
    """Name the status in Replicate's words.

    A missed deadline is `canceled`: clients of version 1 wait for ever for `aborted`.
    """
    if job.error is not None and job.error.get("code") == DeadlineExceeded.code:
        return "canceled"
    return _STATUSES[job.status]


def logs_of(job: Job) -> str:
    """Write the seed and a line of progress, from which clients read the percentage."""
    percent = 100 if job.status is JobStatus.SUCCEEDED else int(100 * job.progress)
    filled = _BAR_WIDTH * percent // 100
    bar = "#" * filled + " " * (_BAR_WIDTH - filled)
    return f"Using seed: {job.request.seed}\n{percent:3d}%|{bar}| {percent}/100\n"


def stream_purpose(job_id: str) -> str:
    """Name the purpose of links to the events of a prediction."""
    return f"stream/{job_id}"


def _metrics(job: Job) -> dict[str, float]:
    if job.finished_at is None:
        return {}
    began_at = job.finished_at if job.started_at is None else job.started_at
    return {
        "predict_time": round(job.finished_at - began_at, 3),
        "total_time": round(job.finished_at - job.created_at, 3),
    }


def _urls(job: Job, links: Links) -> dict[str, str]:
    """Collect the addresses. That of the events is signed: clients fetch it without their key."""
    base = links.base(job)
    own = f"{base}/v1/predictions/{job.id}"
    token = links.token(Grant(stream_purpose(job.id), job.owner))
    return {
        "get": own,
        "cancel": f"{own}/cancel",
        "web": links.job(job),
        "stream": f"{own}/stream?token={token}",
    }
