"""Transactions that accept jobs and read them."""

from typing import NamedTuple

from serve_app.errors import QueueFull
from serve_app.jobs.database import Collision, Steps, statement
from serve_app.jobs.erasure import IDEMPOTENCY_S, keep
from serve_app.jobs.errors import IdempotencyMismatch
from serve_app.jobs.ids import new_id
from serve_app.jobs.job import Job, JobStatus, NewJob
from serve_app.jobs.rows import JOB_COLUMNS, SHOWN_COLUMNS, job_of, new_job_values
from serve_app.jobs.store import QueuePlace, StoreStats


class IdempotencyKey(NamedTuple):
    """A key of an owner, and the body that it stands for."""

    owner: str
    text: str
    body_sha256: str


_ADD = f"""
insert into {{db}}jobs (
  id, owner, model, status, version, request, priority, attempt, progress, audio_s,
  requested_audio_s, cancel_requested, metadata, details, webhook, upload, created_at, run_at,
  deadline_at, kept_s, announced, results, results_deleted
) values (
  :id, :owner, :model, 'queued', 1, :request, :priority, 0, 0, 0,
  :requested_audio_s, false, :metadata, :details, :webhook, :upload, :created_at, :created_at,
  :created_at + cast(:deadline_s as double precision), :kept_s, true, '[]', false
) returning {JOB_COLUMNS}"""


def add(new: NewJob, max_queued: int) -> Steps[tuple[Job, bool]]:
    """Accept a job, or find that of its idempotency key."""
    key = _key_of(new)
    if key is not None and (earlier := (yield from repeated(key))):
        return earlier, False
    created_at = yield from _admit(new.owner, max_queued)
    job_id = new_id(created_at)
    values = new_job_values(new) | {"id": job_id, "created_at": created_at}
    [row] = yield statement(_ADD, **values)
    if key is not None:
        yield from _remember(key, job_id, created_at)
    for upload in new.request.uploads:
        yield from keep(upload)
    return job_of(row), True


def _key_of(new: NewJob) -> IdempotencyKey | None:
    if new.idempotency_key is None:
        return None
    return IdempotencyKey(new.owner, new.idempotency_key, new.body_sha256)


def repeated(key: IdempotencyKey) -> Steps[Job | None]:
    """Find the job that was added with a key. Raises IdempotencyMismatch."""
    rows = yield statement(
        "select job_id, body_sha256 from {db}idempotency_keys"
        f" where owner = :owner and key = :key and created_at > {{now}} - {IDEMPOTENCY_S}",
        owner=key.owner,
        key=key.text,
    )
    if not rows:
        return None
    if rows[0]["body_sha256"] != key.body_sha256:
        raise IdempotencyMismatch(
            "The Idempotency-Key was used with another request: repeat that one, or draw a new key."
        )
    return (yield from get(key.owner, rows[0]["job_id"]))


def _admit(owner: str, max_queued: int) -> Steps[float]:
    """Return the database's time. Raises QueueFull. Concurrent callers may pass it together."""
    [row] = yield statement(
        "select {now} as now, (select count(*) from (select 1 from {db}jobs"
        " where owner = :owner and status in ('queued', 'running') limit :most) as few) as count",
        owner=owner,
        most=max_queued,
    )
    if row["count"] >= max_queued:
        raise QueueFull(
            f"{max_queued} jobs of this API key have not ended: wait for one, or cancel one."
        )
    return float(row["now"])


def _remember(key: IdempotencyKey, job_id: str, created_at: float) -> Steps[None]:
    """Store the idempotency key. Raises Collision if another transaction has just done so."""
    rows = yield statement(
        "insert into {db}idempotency_keys (owner, key, job_id, body_sha256, created_at)"
        " values (:owner, :key, :job_id, :body_sha256, :created_at)"
        " on conflict (owner, key) do update set job_id = excluded.job_id,"
        " body_sha256 = excluded.body_sha256, created_at = excluded.created_at"
        f" where idempotency_keys.created_at <= excluded.created_at - {IDEMPOTENCY_S}"
        " returning job_id",
        owner=key.owner,
        key=key.text,
        job_id=job_id,
        body_sha256=key.body_sha256,
        created_at=created_at,
    )
    if not rows:
        raise Collision


def get(owner: str, job_id: str) -> Steps[Job | None]:
    """Read a job of the owner."""
    rows = yield statement(
        f"select {SHOWN_COLUMNS} from {{db}}jobs where id = :id and owner = :owner",
        id=job_id,
        owner=owner,
    )
    return job_of(rows[0]) if rows else None


def page(owner: str, status: JobStatus | None, before: str | None, limit: int) -> Steps[list[Job]]:
    """List the owner's jobs, the newest first."""
    with_status = "and status = :status" if status else ""
    with_before = "and id < :before" if before else ""
    rows = yield statement(
        f"select {SHOWN_COLUMNS} from {{db}}jobs where owner = :owner {with_status} {with_before}"
        " order by id desc limit :limit",
        owner=owner,
        status=status and status.value,
        before=before,
        limit=limit,
    )
    return [job_of(row) for row in rows]


def is_kept(job_id: str) -> Steps[bool]:
    """Whether the results of a job are kept still."""
    rows = yield statement(
        "select 1 from {db}jobs where id = :id and not results_deleted"
        " and (expires_at is null or expires_at > {now})",
        id=job_id,
    )
    return bool(rows)


def place(job_id: str) -> Steps[QueuePlace | None]:
    """Count the queued jobs that are claimed before this one."""
    rows = yield statement(
        "select model, priority, created_at from {db}jobs where id = :id and status = 'queued'",
        id=job_id,
    )
    if not rows:
        return None
    [before] = yield statement(
        "select count(*) as count, coalesce(sum(requested_audio_s), 0) as audio_s from {db}jobs"
        " where status = 'queued' and model = :model and (priority > :priority or"
        " (priority = :priority and (created_at, id) < (:created_at, :id)))",
        id=job_id,
        **rows[0],
    )
    return QueuePlace(before["count"] + 1, float(before["audio_s"]))


def queued_audio_s() -> Steps[dict[str, float]]:
    """Add up the seconds of music in queued jobs."""
    rows = yield statement(
        "select model, sum(requested_audio_s) as audio_s from {db}jobs"
        " where status = 'queued' group by model"
    )
    return {row["model"]: float(row["audio_s"]) for row in rows}


def stats() -> Steps[StoreStats]:
    """Count unfinished jobs by status, and deliveries to be made."""
    rows = yield statement(
        "select status, count(*) as count from {db}jobs where status in ('queued', 'running') group by status"
    )
    [row] = yield statement(
        "select coalesce((select {now} - min(created_at) from {db}jobs where status = 'queued'), 0)"
        " as oldest_s, (select count(*) from {db}deliveries where not settled) as waiting"
    )
    jobs = dict.fromkeys(JobStatus, 0) | {JobStatus(one["status"]): one["count"] for one in rows}
    return StoreStats(jobs, max(0.0, float(row["oldest_s"])), row["waiting"])


def now() -> Steps[float]:
    """Read the clock."""
    [row] = yield statement("select {now} as now")
    return float(row["now"])
