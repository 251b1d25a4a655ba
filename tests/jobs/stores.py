"""Stores of tests: jobs to add, and time that passes without waiting."""

from dataclasses import replace
from typing import Any

from serve_app.jobs.database import Row, Steps, statement
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import (
    Claim,
    Job,
    JobRequest,
    JobStatus,
    NewJob,
    Outcome,
    ResultFile,
    Webhook,
)
from serve_app.jobs.results import result_key
from serve_app.jobs.store import NewDelivery

MOST = 100
LEASE_S = 30.0
HOOK = Webhook(url="https://example.com/hook", events=("started", "progress", "completed"))
_TIMES = {
    "jobs": ("created_at", "run_at", "started_at", "finished_at", "deadline_at", "expires_at", "lease_until"),
    "deliveries": ("created_at", "due_at"),
    "idempotency_keys": ("created_at",),
    "webhooks_disabled": ("created_at",),
    "webhook_secrets": ("created_at", "expires_at"),
    "erasures": ("due_at",),
}  # fmt: skip


def new_job(
    owner: str = "me", model: str = "nano", duration_s: float = 5.0, **changes: Any
) -> NewJob:
    """A job that asks for one track."""
    n = changes.pop("n", 1)
    audio_prompt = changes.pop("audio_prompt", None)
    request = JobRequest(
        model=model, prompt="a waltz", duration_s=duration_s, seed=7, n=n, audio_prompt=audio_prompt
    )
    return replace(NewJob(owner, request, kept_s=3600.0), **changes)


async def added(store: DatabaseStore, **changes: Any) -> Job:
    """A job that has been accepted."""
    job, new = await store.add(new_job(**changes), MOST)
    assert new
    return job


async def claimed(store: DatabaseStore, **changes: Any) -> Claim:
    """The lease of a job that has been accepted. The queue must have been empty."""
    job = await added(store, **changes)
    [claim] = await store.claim({job.request.model: MOST}, LEASE_S)
    assert claim.job.id == job.id
    return claim


async def found(store: DatabaseStore, job: Job) -> Job:
    """The job as it is stored now."""
    stored = await store.get(job.owner, job.id)
    assert stored is not None
    return stored


def success(claim: Claim) -> Outcome:
    """The end of an attempt that made all tracks."""
    request = claim.job.request
    results = (
        ResultFile(
            key=result_key(claim.job.id, claim.job.attempt, index, "wav"),
            media_type="audio/wav",
            size_bytes=10,
            sha256="00",
            duration_s=request.duration_s,
            report={"seed": 7 + index},
        )
        for index in range(request.n)
    )
    return Outcome(JobStatus.SUCCEEDED, tuple(results), cost_usd=0.5)


def message(event: Any = "completed", body: str = "{}") -> NewDelivery:
    return NewDelivery(HOOK.url, event, body)


async def pass_time(store: DatabaseStore, seconds: float) -> None:
    """Move all stored times into the past."""

    def steps() -> Steps[None]:
        for table, columns in _TIMES.items():
            changes = ", ".join(f"{column} = {column} - :seconds" for column in columns)
            yield statement(f"update {{db}}{table} set {changes} returning 1", seconds=seconds)

    await store._database.write(steps)


async def rows_of(store: DatabaseStore, table: str) -> list[Row]:
    """All rows of a table."""

    def steps() -> Steps[list[Row]]:
        return (yield statement(f"select * from {{db}}{table}"))

    return [dict(row) for row in await store._database.read(steps)]
