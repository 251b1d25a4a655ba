"""Transactions of retention: results expire, rows are deleted, and files are erased with them.

A file is named for erasure several times, an hour apart: the caller may have ended before it erased
it, and a worker that was lost may write it late. To erase a file that is not there is no error.
"""

from serve_app.jobs.database import Steps, statement
from serve_app.jobs.job import Job
from serve_app.jobs.results import result_key
from serve_app.jobs.rows import JOB_COLUMNS, job_of

IDEMPOTENCY_S = 86_400
_AT_ONCE = 500  # rows that one statement changes
_ROWS_AT_ONCE = 5000  # that end with nothing but their messages
_AGAIN_S = 3600
_DISABLED_S = 30 * 86_400  # until an address that answered 410 is tried again
_TIMES = 3

_EXPIRED = f"""
select {JOB_COLUMNS} from {{db}}jobs
where expires_at is not null and not results_deleted and expires_at <= {{now}}
limit {_AT_ONCE} {{skip_locked}}"""

_DELETE_ENDED = f"""
with hit as materialized (
  select id as hit_id from {{db}}jobs
  where results_deleted and finished_at <= {{now}} - :row_kept_s limit {_ROWS_AT_ONCE} {{skip_locked}}
)
delete from {{db}}jobs where id in (select hit_id from hit) returning id"""

_DUE = f"""
with hit as materialized (
  select key as hit_key from {{db}}erasures where due_at <= {{now}} limit {_AT_ONCE} {{skip_locked}}
)
update {{db}}erasures set asked = asked + 1, due_at = {{now}} + {_AGAIN_S}
from hit where key = hit_key returning key"""


def files_of(job: Job) -> tuple[str, ...]:
    """List the keys of all files that a job may have: its uploads, and the results of each attempt.

    An attempt that did not count has the number of the next one.
    """
    request = job.request
    results = (
        result_key(job.id, attempt, index, request.response_format)
        for attempt in range(1, job.attempt + 2)
        for index in range(request.n)
    )
    recorded = (result.key for result in job.results if result.key is not None)
    return tuple(dict.fromkeys((*request.uploads, *results, *recorded)))


def erase(keys: tuple[str, ...]) -> Steps[None]:
    """Note files for later sweeps; the caller erases them a first time at once."""
    for key in keys:
        yield statement(
            "insert into {db}erasures (key, due_at, asked)"
            f" values (:key, {{now}} + {_AGAIN_S}, 1) on conflict (key) do nothing returning key",
            key=key,
        )


def keep(key: str) -> Steps[None]:
    """Take back the note that a file is to be erased: a job names it from now on."""
    yield statement("delete from {db}erasures where key = :key returning key", key=key)


def _expire() -> Steps[list[str]]:
    """Forget the results whose time has passed; return the keys of their files."""
    rows = yield statement(_EXPIRED)
    keys: list[str] = []
    for job in map(job_of, rows):
        yield statement(
            "update {db}jobs set results = '[]', results_deleted = true, version = version + 1"
            " where id = :id returning id",
            id=job.id,
        )
        keys += files_of(job)
    yield from erase(tuple(keys))
    return keys


def sweep(row_kept_s: float) -> Steps[list[str]]:
    """Expire results, delete old rows, and list the files to erase."""
    keys = yield from _expire()
    yield statement(_DELETE_ENDED, row_kept_s=float(row_kept_s))
    yield statement(
        f"delete from {{db}}idempotency_keys where created_at <= {{now}} - {IDEMPOTENCY_S}"
        " returning key"
    )
    yield statement("delete from {db}webhook_secrets where expires_at <= {now} returning owner")
    yield statement(
        f"delete from {{db}}webhooks_disabled where created_at <= {{now}} - {_DISABLED_S}"
        " returning owner"
    )
    due = yield statement(_DUE)
    yield statement(f"delete from {{db}}erasures where asked >= {_TIMES} returning key")
    return [*keys, *(row["key"] for row in due)]


def erase_later(keys: tuple[str, ...], delay_s: float) -> Steps[None]:
    """Let sweeps name files for erasure after so many seconds."""
    for key in keys:
        yield statement(
            "insert into {db}erasures (key, due_at, asked) values (:key, {now} + :delay_s, 0)"
            " on conflict (key) do nothing returning key",
            key=key,
            delay_s=float(delay_s),
        )
