"""Several processes on one store: no job is lost or done twice, and a killed process holds none."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

import pytest

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import JobStatus
from serve_app.jobs.stores import StoreAddress, store_at
from tests.jobs.stores import LEASE_S, MOST, added, found, pass_time, rows_of, success
from tests.sources import ROOT

PROCESSES = 3
JOBS = 60


on_both = pytest.mark.parametrize("store_url", ["sqlite", "pgbouncer"], indirect=True)


async def process(url: str, task: str, count: int = 0) -> Process:
    command = [sys.executable, "-m", "tests.jobs.sharing", url, task, str(count)]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)


async def printed(running: Process) -> list[str]:
    """The ids that a process printed until its end."""
    out, _ = await running.communicate()
    assert running.returncode == 0
    return out.decode().split()


@on_both
async def test_no_job_is_lost_or_done_twice(store: DatabaseStore, store_url: str) -> None:
    jobs = {(await added(store)).id for _ in range(JOBS)}
    workers = [await process(store_url, "work") for _ in range(PROCESSES)]
    done = [await printed(worker) for worker in workers]
    assert sorted(id for ids in done for id in ids) == sorted(jobs)
    rows = await rows_of(store, "jobs")
    assert {row["status"] for row in rows} == {"succeeded"}
    assert {row["attempt"] for row in rows} == {1}
    assert {row["version"] for row in rows} == {4}, "claimed, heard of, and ended once each"


@on_both
async def test_processes_that_use_one_key_get_one_job(store: DatabaseStore, store_url: str) -> None:
    count = 10
    adding = [await process(store_url, "add", count) for _ in range(PROCESSES)]
    ids = [await printed(one) for one in adding]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == count
    assert len(await rows_of(store, "jobs")) == count * (PROCESSES + 1)


@on_both
async def test_the_job_of_a_killed_process_is_done_by_another(
    store: DatabaseStore, store_url: str
) -> None:
    job = await added(store)
    holder = await process(store_url, "hold")
    assert holder.stdout is not None
    assert (await holder.stdout.readline()).decode().strip() == job.id
    holder.kill()
    await holder.communicate()
    assert await store.claim({"nano": MOST}, LEASE_S) == []
    await pass_time(store, LEASE_S + 1)
    assert await store.reap(3) == []
    [claim] = await store.claim({"nano": MOST}, LEASE_S)
    assert claim.job.attempt == 2
    await store.finish(claim, success(claim))
    assert (await found(store, job)).status is JobStatus.SUCCEEDED


async def test_processes_that_open_an_empty_store_at_once_migrate_it_once(
    empty_store_url: str,
) -> None:
    stores = [store_at(StoreAddress(empty_store_url, named=True)) for _ in range(4)]
    applied = await asyncio.gather(*(store.migrate() for store in stores))
    assert sorted(map(len, applied)) == [0, 0, 0, len(await rows_of(stores[0], "migrations"))]
    await asyncio.gather(*(store.close() for store in stores))
