"""Transactions that end jobs without a worker, and that delete them."""

from serve_app.errors import DeadlineExceeded, ServeAppError
from serve_app.jobs.database import Row, Steps, statement
from serve_app.jobs.erasure import erase, files_of
from serve_app.jobs.errors import WorkerLost
from serve_app.jobs.job import Job
from serve_app.jobs.leasing import CANCEL, REQUEUE
from serve_app.jobs.outbox import add_deliveries, drop_progress
from serve_app.jobs.rows import JOB_COLUMNS, as_json, job_of
from serve_app.jobs.store import NewDelivery

_AT_ONCE = 500  # jobs that one statement changes

_FAIL = CANCEL.replace("'canceled'", "'failed'") + ", error = :error"
_LOST = "status = 'running' and lease_until <= {now}"
_LATE = "status in ('queued', 'running') and deadline_at is not null and deadline_at <= {now}"


def cancel(owner: str, job_id: str) -> Steps[Job | None]:
    """Cancel a queued job, or ask the worker of a running one to stop."""
    rows = yield statement(
        "select status from {db}jobs where id = :id and owner = :owner {lock}",
        id=job_id,
        owner=owner,
    )
    if not rows:
        return None
    yield statement(
        f"update {{db}}jobs set {CANCEL} where id = :id and status = 'queued' returning id",
        id=job_id,
    )
    yield statement(
        "update {db}jobs set cancel_requested = true, version = version + 1"
        " where id = :id and status = 'running' and not cancel_requested returning id",
        id=job_id,
    )
    rows = yield statement(f"select {JOB_COLUMNS} from {{db}}jobs where id = :id", id=job_id)
    return job_of(rows[0])


def delete(owner: str, job_id: str) -> Steps[tuple[str, ...] | None]:
    """Delete the row and what hangs on it. A worker's later writes find no row."""
    rows = yield statement(
        f"delete from {{db}}jobs where id = :id and owner = :owner returning {JOB_COLUMNS}",
        id=job_id,
        owner=owner,
    )
    if not rows:
        return None
    keys = files_of(job_of(rows[0]))
    yield from erase(keys)
    return keys


def reap(max_attempts: int) -> Steps[list[Job]]:
    """End and requeue jobs of lost workers, and end those whose deadline has passed."""
    ended = yield from _change(CANCEL, f"{_LOST} and cancel_requested")
    late = DeadlineExceeded("The job did not end within its deadline_s.")
    ended += yield from _change(_FAIL, _LATE, error=_problem(late))
    lost = WorkerLost(
        f"The job was started {max_attempts} times, and each time its worker was lost."
    )
    ended += yield from _change(
        _FAIL, f"{_LOST} and attempt >= :attempts", error=_problem(lost), attempts=max_attempts
    )
    again = f"{_LOST} and not cancel_requested and attempt < :attempts"
    yield from _change(f"{REQUEUE}, run_at = {{now}}", again, attempts=max_attempts)
    ended += yield statement(
        f"select {JOB_COLUMNS} from {{db}}jobs where not announced order by id limit {_AT_ONCE}"
    )
    jobs = {row["id"]: job_of(row) for row in ended}
    return list(jobs.values())


def _problem(error: ServeAppError) -> str:
    return as_json(error.problem_details)


def _change(changes: str, where: str, **parameters: object) -> Steps[list[Row]]:
    """Change the jobs that no other transaction is changing."""
    return (
        yield statement(
            f"with hit as (select id as hit_id from {{db}}jobs where {where}"
            f" limit {_AT_ONCE} {{skip_locked}})"
            f" update {{db}}jobs set {changes} from hit where id = hit_id returning {JOB_COLUMNS}",
            **parameters,
        )
    )


def announce(job: Job, deliveries: tuple[NewDelivery, ...]) -> Steps[bool]:
    """Write the deliveries of a job that ended without a worker, once; return whether this call did."""
    rows = yield statement(
        "update {db}jobs set announced = true where id = :id and not announced returning owner",
        id=job.id,
    )
    if rows:
        yield from drop_progress(job.id)
        yield from add_deliveries(job.id, rows[0]["owner"], deliveries)
    return bool(rows)
