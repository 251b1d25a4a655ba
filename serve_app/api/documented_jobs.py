"""OpenAPI documentation of the answers of jobs."""

from typing import Any

from serve_app.api.errors import (
    InvalidInput,
    OriginNotAllowed,
    Overloaded,
    RangeNotSatisfiable,
    UnsupportedEncoding,
)
from serve_app.api.openapi import Responses, errors, file_content, header_parameter
from serve_app.errors import (
    DurationTooLong,
    FormatNotSigned,
    InvalidAudio,
    InvalidRequest,
    MelodyNotSupported,
    ModelLoading,
    ModelNotFound,
    PayloadTooLarge,
    QueueFull,
    RequestTimeout,
    ServeAppError,
    SigningFailed,
    Unauthorized,
)
from serve_app.jobs.errors import (
    AddressRefused,
    IdempotencyMismatch,
    JobHasNoResult,
    JobNotFinished,
    JobNotFound,
    JobsDisabled,
    JobStoreUnavailable,
    ResultExpired,
    ResultsUnavailable,
    UploadNotFound,
)

# Bodies are read before the route, also those of requests that need none.
_BODY_ERRORS: tuple[type[ServeAppError], ...] = (
    RequestTimeout, PayloadTooLarge, UnsupportedEncoding,
)  # fmt: skip
JOB_ERRORS: tuple[type[ServeAppError], ...] = (
    InvalidRequest, Unauthorized, OriginNotAllowed, Overloaded, JobsDisabled, JobStoreUnavailable,
    *_BODY_ERRORS,
)  # fmt: skip
_ACCEPTANCE_ERRORS: tuple[type[ServeAppError], ...] = (
    ModelNotFound, IdempotencyMismatch, QueueFull, ModelLoading, SigningFailed, ResultsUnavailable,
)  # fmt: skip
_FIELD_ERRORS: tuple[type[ServeAppError], ...] = (
    DurationTooLong, InvalidAudio, FormatNotSigned, MelodyNotSupported, AddressRefused,
)  # fmt: skip


PREFER = header_parameter(
    "prefer", "`wait=N`: wait up to N seconds, 60 at most, for the end of the job (RFC 7240)."
)
IDEMPOTENCY_KEY = header_parameter(
    "idempotency-key",
    "A repeated key returns the job of the first time for a day; with another body it is an error. At "
    "most 255 characters, in quotes or bare.",
)
_UNCHANGED = {"description": "The file is as it was"}
EVENTS = {
    "description": "The events",
    # Without a type: some tools validate the whole stream as a text, others each event as an object.
    "content": {"text/event-stream": {"schema": {"description": "Server-sent events."}}},
}
LAST_EVENT_ID = header_parameter(
    "last-event-id", "`id` of the last event that was seen; only later ones are sent."
)


def submission_responses() -> Responses:
    """Document the answers to a new job."""
    documented = errors(*JOB_ERRORS, *_FIELD_ERRORS, *_ACCEPTANCE_ERRORS)
    documented[200] = {"description": "The job, which has ended within `Prefer: wait`"}
    documented[202] = {"description": "The job", "headers": _headers("location", "retry-after")}
    return documented


def prediction_responses() -> Responses:
    """Document the answers to a new prediction."""
    documented = errors(*JOB_ERRORS, *_ACCEPTANCE_ERRORS, InvalidInput)
    return documented | {201: {"description": "The prediction, finished or `starting`"}}


def uploaded_file_responses() -> Responses:
    """Document an uploaded file, whole or in part."""
    binary = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    failures = errors(*JOB_ERRORS, UploadNotFound, RangeNotSatisfiable, ResultsUnavailable)
    part = {"description": "The range that was asked for", "content": binary}
    whole = {"description": "The file", "content": binary}
    return failures | {200: whole, 206: part, 304: _UNCHANGED}


def job_responses() -> Responses:
    """Document the answers about one job."""
    return errors(*JOB_ERRORS, JobNotFound, ResultsUnavailable)


def file_responses() -> Responses:
    """Document a job's file, whole or in part."""
    whole = {"description": "The file", "content": file_content()}
    part = {"description": "The range that was asked for", "content": file_content()}
    failures = errors(
        *JOB_ERRORS, JobNotFound, JobNotFinished, JobHasNoResult, ResultExpired,
        RangeNotSatisfiable, ResultsUnavailable,
    )  # fmt: skip
    return failures | {200: whole, 206: part, 304: _UNCHANGED}


def events_responses() -> Responses:
    """Document a job's events."""
    ended = {"description": "The job has ended, and its last event was seen"}
    return job_responses() | {200: EVENTS, 204: ended}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"schema": {"type": "string"}} for name in names}
