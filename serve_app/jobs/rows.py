"""Jobs and deliveries to and from rows of the database. JSON is text without characters beyond ASCII."""

import json
from typing import Any

from pydantic import BaseModel

from serve_app.jobs.database import Row
from serve_app.jobs.job import (
    Delivery,
    Job,
    JobRequest,
    JobStatus,
    NewJob,
    ResultFile,
    Upload,
    Webhook,
)

JOB_COLUMNS = (
    "id, owner, status, version, request, priority, attempt, progress, audio_s, cancel_requested,"
    " metadata, details, webhook, upload, created_at, started_at, finished_at, deadline_at,"
    " expires_at, results, results_deleted, error, cost_usd"
)

# The same to read now: results whose time has passed count as deleted before a sweep erases them.
SHOWN_COLUMNS = JOB_COLUMNS.replace(
    "results, results_deleted",
    "case when expires_at <= {now} then '[]' else results end as results,"
    " (results_deleted or coalesce(expires_at <= {now}, false)) as results_deleted",
)


def as_json(value: object) -> str:
    """Write JSON in ASCII: PostgreSQL's text takes neither NUL nor lone surrogates."""
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _optional_json(value: object | None) -> str | None:
    return None if value is None else as_json(value)


def job_of(row: Row) -> Job:
    """Read a row of the columns JOB_COLUMNS."""
    values: dict[str, Any] = dict(row)
    values |= {name: _read(row[name]) for name in ("metadata", "details", "error")}
    values["status"] = JobStatus(row["status"])
    values["request"] = JobRequest.model_validate(_read(row["request"]))
    values["webhook"] = None if row["webhook"] is None else Webhook(**_read(row["webhook"]))
    values["upload"] = None if row["upload"] is None else Upload(**_read(row["upload"]))
    values["results"] = tuple(ResultFile(**one) for one in _read(row["results"]))
    for name in ("cancel_requested", "results_deleted"):
        values[name] = bool(row[name])
    for name in ("progress", "audio_s"):
        values[name] = float(row[name])
    return Job(**values)


def _read(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def new_job_values(new: NewJob) -> dict[str, Any]:
    """Collect the columns that are known before the job is accepted."""
    return {
        "owner": new.owner,
        "model": new.request.model,
        "request": as_json(new.request),
        "priority": new.priority,
        "requested_audio_s": new.request.audio_s,
        "metadata": as_json(new.metadata),
        "details": as_json(new.details),
        "webhook": _optional_json(new.webhook),
        "upload": _optional_json(new.upload),
        "deadline_s": new.deadline_s,
        "kept_s": new.kept_s,
    }


def delivery_of(row: Row) -> Delivery:
    """Read a leased row of the outbox."""
    return Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__})
