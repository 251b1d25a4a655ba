"""Jobs in JSON, for answers, events and webhooks."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from serve_app.jobs.clock import iso
from serve_app.jobs.job import EventName, Job, JobStatus, ResultFile
from serve_app.jobs.links import Links
from serve_app.track_fields import TrackReport

_INTERNAL = {
    "model", "audio_prompt", "audio_prompt_start_s", "audio_prompt_end_s", "melody", "melody_start_s",
    "melody_end_s",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """Prospects of an unfinished job. None: unknown, or of no meaning any more."""

    queue_position: int | None = None
    eta_s: float | None = None


class JobResult(TrackReport, frozen=True, protected_namespaces=()):
    """One file of a job, and the facts of its track."""

    url: Annotated[
        str | None,
        Field(
            description="Signed address of the file, which needs no key and expires; null once the "
            "file is deleted, and for one that went to the job's `upload`."
        ),
    ]
    type: Annotated[str, Field(description="Media type of the file.")]
    size_bytes: Annotated[int, Field(description="Length of the file, in bytes.")]
    sha256: Annotated[str, Field(description="SHA-256 of the file, in hexadecimal.")]

    @classmethod
    def of_file(cls, file: ResultFile, url: str | None) -> Self:
        facts = file.report | {"duration_s": file.duration_s, "type": file.media_type}
        return cls(**facts, url=url, size_bytes=file.size_bytes, sha256=file.sha256)


class WebhookAddress(BaseModel):
    """The address that is told of the job's events."""

    url: Annotated[str, Field(description="Its address.")]
    events: Annotated[list[EventName], Field(description="The events that it is told.")]


class JobDescription(BaseModel):
    """A job. Times are in UTC (RFC 3339)."""

    id: Annotated[str, Field(description="Id of the job.")]
    object: Literal["job"] = "job"
    status: Annotated[
        JobStatus, Field(description="The last three are final; `running` may return to `queued`.")
    ]
    progress: Annotated[float, Field(description="Part that is done, 0 to 1.")]
    audio_s: Annotated[float, Field(description="Seconds of music made so far.")]
    queue_position: Annotated[
        int | None,
        Field(description="Place among the queued jobs of its model, 1 is next; null in lists."),
    ]
    eta_s: Annotated[
        float | None,
        Field(description="Estimated seconds until the end; null when unknown, and in lists."),
    ]
    model: Annotated[str, Field(description="Id of the model.")]
    seed: Annotated[int, Field(description="Seed of the first variation.")]
    request: Annotated[
        dict[str, Any] | None,
        Field(
            description="The request's fields with their defaults; `audio_prompt`, `melody`: whether "
            "one was sent."
        ),
    ]
    priority: Annotated[int, Field(description="Priority, -10 to 10.")]
    created_at: Annotated[str | None, Field(description="Time of the request.")]
    started_at: Annotated[str | None, Field(description="Time of the latest start.")]
    finished_at: Annotated[str | None, Field(description="Time of the end.")]
    deadline_at: Annotated[str | None, Field(description="Time by which it has to have ended.")]
    expires_at: Annotated[str | None, Field(description="Time at which its files are deleted.")]
    attempt: Annotated[int, Field(description="Starts so far.")]
    cancel_requested: Annotated[bool, Field(description="Whether it was asked to stop.")]
    result: Annotated[
        list[JobResult], Field(description="The files, by ascending seed; empty until it succeeds.")
    ]
    error: Annotated[
        dict[str, Any] | None, Field(description="Problem (RFC 9457) of a job that failed.")
    ]
    cost_usd: Annotated[
        float | None, Field(description="Cost in US dollars; null when the price is unknown.")
    ]
    metadata: Annotated[dict[str, Any], Field(description="As sent with the request.")]
    webhook: Annotated[
        WebhookAddress | None, Field(description="The address that is told of its events.")
    ]

    @classmethod
    def of(cls, job: Job, links: Links, estimate: Estimate | None = None) -> Self:
        """Describe a job. estimate: of an unfinished one."""
        prospects = estimate or Estimate()
        return cls(
            **_facts(job),
            queue_position=prospects.queue_position,
            eta_s=None if prospects.eta_s is None else round(prospects.eta_s, 1),
            result=[
                JobResult.of_file(file, links.audio(job, number))
                for number, file in enumerate(job.results)
            ],
        )


def _facts(job: Job) -> dict[str, Any]:
    """Collect what the row tells as it is."""
    webhook = job.webhook
    address = None if webhook is None else {"url": webhook.url, "events": list(webhook.events)}
    return _times(job) | {
        "id": job.id,
        "status": job.status,
        "progress": round(job.progress, 4),
        "audio_s": round(job.audio_s, 3),
        "model": job.request.model,
        "seed": job.request.seed,
        "request": _request(job),
        "priority": job.priority,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "error": job.error,
        "cost_usd": job.cost_usd,
        "metadata": job.metadata,
        "webhook": address,
    }


def _times(job: Job) -> dict[str, str | None]:
    return {
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "deadline_at": iso(job.deadline_at),
        "expires_at": iso(job.expires_at),
    }


def _request(job: Job) -> dict[str, Any]:
    wanted = job.request
    fields = wanted.model_dump(mode="json", exclude=_INTERNAL)
    uploads = {"audio_prompt": wanted.audio_prompt, "melody": wanted.melody}
    return fields | {name: key is not None for name, key in uploads.items()}
