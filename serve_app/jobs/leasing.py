"""Transactions of workers: a claim leases a job, and each later write checks the lease (fencing).

The lease of an ended job stays in its row, so that a worker that did not learn of its own commit
may end the job again without effect.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from serve_app.jobs.bounds import within
from serve_app.jobs.database import Row, Steps, statement
from serve_app.jobs.job import Claim, Job, JobStatus, Outcome
from serve_app.jobs.outbox import add_deliveries, drop_progress
from serve_app.jobs.rows import JOB_COLUMNS, as_json, job_of
from serve_app.jobs.store import NewDelivery, Progressed

# Ends a job without its worker; reap() returns it until announce() has told of its end.
CANCEL = (
    "status = 'canceled', finished_at = {now}, expires_at = {now} + kept_s, announced = false,"
    " lease = null, lease_until = null, version = version + 1"
)
REQUEUE = (
    "status = 'queued', lease = null, lease_until = null, started_at = null, progress = 0,"
    " audio_s = 0, version = version + 1"
)
_HELD = "id = :id and lease = :lease and status = 'running'"

_DUE = """from {db}jobs
  where status = 'queued' and model = :model and run_at <= {now}
    and (deadline_at is null or deadline_at > {now})"""
_ORDER = "priority desc, created_at, id"
_UNFINISHED = "from {db}jobs where status in ('queued', 'running')"

_HEARTBEAT = f"""
update {{db}}jobs set lease_until = {{now}} + :lease_s, progress = :progress, audio_s = :audio_s,
  version = version + case when progress <> :progress or audio_s <> :audio_s then 1 else 0 end
where {_HELD} returning owner, cancel_requested"""

_FINISH = f"""
update {{db}}jobs set status = :status, results = :results, error = :error, cost_usd = :cost_usd,
  progress = case when :succeeded then 1 else progress end,
  audio_s = case when :succeeded then :made_s else audio_s end,
  finished_at = {{now}}, expires_at = {{now}} + kept_s, announced = true, lease_until = null,
  version = version + 1
where {_HELD} returning {JOB_COLUMNS}"""


def claim(room: Mapping[str, int], lease_s: float, bounds: Mapping[str, int]) -> Steps[list[Claim]]:
    """Lease the next queued jobs of each model, at most so many of each owner in `bounds`.

    The owner with the fewest running jobs goes first, then the highest priority, then the oldest job.
    """
    lease = secrets.token_hex(16)
    jobs: list[Job] = []
    left = dict(bounds)
    turns, held = yield from _turns()
    for model, count in sorted(room.items()):
        if count > 0:
            condition, parameters = within(left, _DUE, _ORDER)
            rows = yield statement(
                _claim_where(condition, turns),
                model=model,
                room=count,
                lease=lease,
                lease_s=float(lease_s),
                **parameters,
                **held,
            )
            jobs += map(job_of, rows)
            _count(rows, left)
    jobs.sort(key=lambda job: (-job.priority, job.created_at, job.id))
    return [Claim(job, lease) for job in jobs]


def _turns() -> Steps[tuple[str, dict[str, Any]]]:
    """Write the order of owners by their running jobs; empty where a single owner has jobs.

    One owner's jobs are found in their order by an index, those of several are sorted.
    """
    [ends] = yield statement(
        f"select (select min(owner) {_UNFINISHED}) as lowest, (select max(owner) {_UNFINISHED}) as highest"
    )
    if ends["lowest"] == ends["highest"]:
        return "", {}
    rows = yield statement(
        "select owner, count(*) as held from {db}jobs where status = 'running' group by owner"
    )
    if not rows:
        return "", {}
    cases = " ".join(f"when :busy{n} then {int(row['held'])}" for n, row in enumerate(rows))
    parameters = {f"busy{n}": row["owner"] for n, row in enumerate(rows)}
    return f"case owner {cases} else 0 end, ", parameters


def _claim_where(condition: str, turns: str) -> str:
    return f"""
with next as (
  select id as next_id {_DUE} {condition}
  order by {turns}{_ORDER} limit :room {{skip_locked}}
)
update {{db}}jobs set status = 'running', attempt = attempt + 1, lease = :lease,
  lease_until = {{now}} + :lease_s, started_at = {{now}}, version = version + 1
from next where id = next_id returning {JOB_COLUMNS}"""


def _count(rows: list[Row], left: dict[str, int]) -> None:
    """Count claimed rows against their owners' bounds."""
    for row in rows:
        if row["owner"] in left:
            left[row["owner"]] -= 1


def heartbeat(
    claim: Claim, done: Progressed, lease_s: float, deliveries: tuple[NewDelivery, ...]
) -> Steps[bool | None]:
    """Extend the lease, record progress and replace its deliveries."""
    rows = yield statement(
        _HEARTBEAT,
        **_holder(claim),
        progress=float(done.progress),
        audio_s=float(done.audio_s),
        lease_s=float(lease_s),
    )
    if not rows:
        return None
    if deliveries:
        yield from drop_progress(claim.job.id)
        yield from add_deliveries(claim.job.id, rows[0]["owner"], deliveries)
    return bool(rows[0]["cancel_requested"])


def _holder(claim: Claim) -> dict[str, Any]:
    return {"id": claim.job.id, "lease": claim.lease}


def finish(
    claim: Claim, outcome: Outcome, deliveries: tuple[NewDelivery, ...]
) -> Steps[Job | None]:
    """Record the end of a job and its deliveries."""
    rows = yield statement(
        _FINISH,
        **_holder(claim),
        status=outcome.status.value,
        succeeded=outcome.status is JobStatus.SUCCEEDED,
        made_s=float(sum(result.duration_s for result in outcome.results)),
        results=as_json(outcome.results),
        error=None if outcome.error is None else as_json(outcome.error),
        cost_usd=outcome.cost_usd,
    )
    if not rows:
        return (yield from _ended_by(claim))
    job = job_of(rows[0])
    yield from drop_progress(job.id)
    yield from add_deliveries(job.id, job.owner, deliveries)
    return job


def _ended_by(claim: Claim) -> Steps[Job | None]:
    """Read the job if this very lease has ended it: the answer to an earlier commit was lost."""
    rows = yield statement(
        f"select {JOB_COLUMNS} from {{db}}jobs where id = :id and lease = :lease"
        " and status in ('succeeded', 'failed', 'canceled')",
        **_holder(claim),
    )
    return job_of(rows[0]) if rows else None


def release(claim: Claim, delay_s: float, counts: bool) -> Steps[None]:
    """Return the job to the queue, or end it if its cancel was asked for."""
    canceled = yield statement(
        f"update {{db}}jobs set {CANCEL} where {_HELD} and cancel_requested returning id",
        **_holder(claim),
    )
    if canceled:
        return
    yield statement(
        f"update {{db}}jobs set {REQUEUE}, run_at = {{now}} + :delay_s, attempt = attempt - :less"
        f" where {_HELD} returning id",
        **_holder(claim),
        delay_s=float(delay_s),
        less=0 if counts else 1,
    )
