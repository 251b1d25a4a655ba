"""Deep queues: what runs for each job reads an index, and not the rows of all others."""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serve_app.jobs import ending, leasing, migrations, sqlite_connection, submission
from serve_app.jobs.database import Steps, Transaction, statement
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import JobStatus
from serve_app.jobs.stores import StoreAddress, store_at
from tests.jobs.stores import MOST, added, found, new_job
from tests.jobs.workshop import Workshop, eventually, workshop

QUEUED = "jobs_queued"
UNFINISHED = "jobs_unfinished"
BY_STATUS = "jobs_listed_by_status"


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Path]:
    """The file of a store that has a job."""
    store = store_at(StoreAddress(f"sqlite:///{tmp_path / 'jobs.db'}", named=True))
    await store.open()
    await added(store)
    yield tmp_path / "jobs.db"
    await store.close()


def plans(file: Path, transaction: Transaction[Any]) -> list[str]:
    """SQLite's plan of each statement of a transaction."""
    connection = sqlite_connection.connect(file)
    found: list[str] = []
    steps = transaction()
    try:
        wanted = next(steps)
        while True:
            sql = sqlite_connection._DIALECT.text(wanted.sql)
            rows = connection.execute(f"explain query plan {sql}", wanted.parameters)
            found.append("; ".join(row["detail"] for row in rows))
            wanted = steps.send(connection.execute(sql, wanted.parameters).fetchall())
    except StopIteration:
        return found
    finally:
        connection.close()


def _place(file: Path) -> Transaction[Any]:
    connection = sqlite_connection.connect(file)
    [row] = connection.execute("select id from jobs")
    connection.close()
    return partial(submission.place, row["id"])


def _of(transaction: Callable[..., Any], *arguments: Any) -> Callable[[Path], Transaction[Any]]:
    return lambda _: partial(transaction, *arguments)


@pytest.mark.parametrize(
    ("transaction", "number", "index"),
    [
        (_place, 1, f"COVERING INDEX {QUEUED} (model=?"),
        (_of(submission.queued_audio_s), 0, f"COVERING INDEX {QUEUED}"),
        (_of(submission.stats), 0, f"COVERING INDEX {UNFINISHED}"),
        (_of(submission.stats), 1, f"COVERING INDEX {QUEUED}"),
        (_of(submission.add, new_job(), MOST), 0, f"COVERING INDEX {BY_STATUS} (owner=? AND status=?)"),
        (_of(leasing.claim, {"nano": 1}, 30.0, {}), 0, f"COVERING INDEX {UNFINISHED}"),
        (_of(leasing.claim, {"nano": 1}, 30.0, {}), 1, f"INDEX {QUEUED} (model=?)"),
        (_of(ending.reap, 3), 0, "INDEX jobs_running (lease_until<?)"),
        (_of(ending.reap, 3), 1, "INDEX jobs_deadline (deadline_at>? AND deadline_at<?)"),
        (
            _of(submission.page, "me", JobStatus.RUNNING, None, 2),
            0,
            f"INDEX {BY_STATUS} (owner=? AND status=?)",
        ),
    ],
)  # fmt: skip
def test_statements_read_their_index(
    file: Path, transaction: Callable[[Path], Transaction[Any]], number: int, index: str
) -> None:
    plan = plans(file, transaction(file))[number]
    assert index in plan
    others = set(re.findall(r"(?:SCAN|SEARCH) jobs USING (?:COVERING )?INDEX (\w+)", plan))
    assert len(others - {"sqlite_autoindex_jobs_1"}) == 1, plan


def _message_of_the_first_schema(job_id: str) -> Steps[None]:
    yield statement(
        "insert into {db}deliveries (id, job_id, owner, url, event, body, attempt, created_at,"
        " due_at, settled) values ('one', :job_id, 'me', 'https://Example.org:81/a/b', 'completed',"
        " '{{}}', 0, {now}, {now}, false) returning id",
        job_id=job_id,
    )


async def test_jobs_of_an_earlier_schema_stay(
    empty_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose jobs and messages were added before the indexes changed, and before hosts."""
    every = migrations.migrations_of
    store = store_at(StoreAddress(empty_store_url, named=True))
    for module in ("sqlite_connection", "postgres"):
        monkeypatch.setattr(f"serve_app.jobs.{module}.migrations_of", lambda name: every(name)[:1])
    assert await store.migrate() == ["0001_jobs"]
    store = DatabaseStore(store._database)
    job, _ = await store.add(new_job(), MOST)
    await store._database.write(partial(_message_of_the_first_schema, job.id))
    await store.close()
    monkeypatch.undo()
    later = store_at(StoreAddress(empty_store_url, named=True))
    assert await later.migrate() == [one.name for one in every("sqlite")[1:]]
    assert await found(later, job) == job
    assert await later.queued_audio_s() == {"nano": 5.0}
    assert await later.claim_deliveries(2, 30.0, {}, {"example.org:81": 0}) == []
    [delivery] = await later.claim_deliveries(2, 30.0, {}, {"example.org:81": 1})
    assert delivery.job_id == job.id
    await later.close()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    async with workshop(tmp_path) as shop:
        yield shop


async def test_a_worker_adds_a_deep_queue_up_now_and_then(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for each job that is accepted or ends."""
    monkeypatch.setattr("serve_app.jobs.worker._SHORTEST_POLL_S", 3600.0)
    counted: list[dict[str, float]] = []
    add_up = shop.store.queued_audio_s

    async def queued_audio_s() -> dict[str, float]:
        counted.append(await add_up())
        return counted[-1]

    monkeypatch.setattr(shop.store, "queued_audio_s", queued_audio_s)
    shop.studio.slots = 3
    for _ in range(30):
        await shop.add()
    async with shop.working() as worker:
        await eventually(lambda: len(shop.records.ends) == 30)
        assert counted == [{"small": 15.0}]
        worker.added(await shop.add())
        await eventually(lambda: len(shop.records.ends) == 31)
        assert len(counted) == 1, "it was claimed without adding up"
        worker.added(await shop.add(model="large"))
        await eventually(lambda: len(shop.records.ends) == 32)
        assert len(counted) == 2
