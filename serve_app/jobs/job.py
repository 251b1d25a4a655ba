"""Jobs and their parts: plain values, without a database and without HTTP."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serve_app.audio.file_options import FileOptions
from serve_app.types import ENCODEC, Decoder, DurationS, ExtendStrideS, SamplingParams

MAX_PRIORITY = 10
EventName = Literal["started", "progress", "completed"]
Dialect = Literal["native", "replicate"]


class JobStatus(StrEnum):
    """States of a job. `queued` and `running` may alternate; the others are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class JobRequest(FileOptions, SamplingParams, frozen=True):
    """The tracks of a job: `n` variations with the seed and the following ones.

    model: id of a served model, resolved when the job was accepted; seed: drawn by then, so that
    each attempt makes the same music; audio_prompt, melody: keys of stored uploads in the results'
    store; audio_prompt_start_s, audio_prompt_end_s: the part of it that the tracks begin with;
    melody_start_s, melody_end_s: the part of it that they follow.
    """

    model: str
    prompt: str = ""
    duration_s: DurationS = 30.0
    extend_stride_s: ExtendStrideS | None = None
    decoder: Decoder = ENCODEC
    n: Annotated[int, Field(ge=1, le=8)] = 1
    audio_prompt: str | None = None
    audio_prompt_start_s: Annotated[float, Field(ge=0.0)] = 0.0
    audio_prompt_end_s: Annotated[float, Field(gt=0.0)] | None = None

    melody: str | None = None
    melody_start_s: Annotated[float, Field(ge=0.0)] = 0.0
    melody_end_s: Annotated[float, Field(gt=0.0)] | None = None

    @property
    def uploads(self) -> tuple[str, ...]:
        """Keys of the stored uploads."""
        return tuple(key for key in (self.audio_prompt, self.melody) if key is not None)

    @property
    def audio_s(self) -> float:
        """Seconds of music in all variations."""
        return self.n * self.duration_s


class Webhook(BaseModel, frozen=True, extra="forbid"):
    """Address that is told of the job's events. dialect: form of the bodies."""

    url: str
    events: tuple[EventName, ...] = ("completed",)
    dialect: Dialect = "native"


class Upload(BaseModel, frozen=True, extra="forbid"):
    """Signed address that the track's file is sent to by PUT, with these headers."""

    url: str
    headers: dict[str, str] = Field(default_factory=dict)


class ResultFile(BaseModel, frozen=True, extra="forbid"):
    """One finished file. key: in the results' store; None: it went to the job's `upload`.

    report: the facts of the track, a TrackReport's fields; sha256: hexadecimal.
    """

    key: str | None
    media_type: str
    size_bytes: int
    sha256: str
    duration_s: float
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to accept.

    owner: name of the API key, empty for callers without one; idempotency_key: of the owner;
    body_sha256: of the canonical body, which a repeated key is compared by; details: of the dialect
    (the input as it was sent, say); deadline_s: seconds from now within which it must have begun
    and ended; kept_s: seconds for which results are kept, counted from the end.
    """

    owner: str
    request: JobRequest
    kept_s: float
    priority: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    webhook: Webhook | None = None
    upload: Upload | None = None
    deadline_s: float | None = None
    idempotency_key: str | None = None
    body_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored. Times are Unix times by the database's clock.

    version: grows with each change, the id of the job's latest event; attempt: starts so far;
    progress: 0 to 1; audio_s: seconds of music made so far; results: empty until it has succeeded,
    and once they have expired; error: a problem (RFC 9457); report: of the whole job (cost_usd).
    """

    id: str
    owner: str
    status: JobStatus
    version: int
    request: JobRequest
    priority: int
    attempt: int
    progress: float
    audio_s: float
    cancel_requested: bool
    metadata: dict[str, Any]
    details: dict[str, Any]
    webhook: Webhook | None
    upload: Upload | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    deadline_at: float | None
    expires_at: float | None
    results: tuple[ResultFile, ...]
    results_deleted: bool
    error: dict[str, Any] | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's lease of a running job. Writes with a lease that was lost change nothing."""

    job: Job
    lease: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt: a final status with its results or its error."""

    status: JobStatus
    results: tuple[ResultFile, ...] = ()
    error: dict[str, Any] | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to a webhook, in the outbox. id: the `webhook-id` of all its attempts.

    body: JSON text, written with the change of the job that it tells of; attempt: 1 for the first
    since the message was made or was asked for again; lease: of this attempt.
    """

    id: str
    job_id: str
    owner: str
    url: str
    event: EventName
    body: str
    attempt: int
    lease: str
