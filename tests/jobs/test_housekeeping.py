"""Housekeeping: lost workers, deadlines, retention and counts, on a real SQLite store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from serve_app.config.jobs import JobsConfig
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import JobStoreUnavailable, ResultsUnavailable
from serve_app.jobs.housekeeping import Housekeeping
from serve_app.jobs.job import JobStatus, Webhook
from tests.fakes import Unexpected
from tests.jobs.stores import pass_time
from tests.jobs.workshop import Workshop, eventually, workshop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    async with workshop(tmp_path, JobsConfig(max_attempts=1)) as shop:
        yield shop


async def test_a_lost_job_fails_after_its_attempts_and_its_webhook_is_told(shop: Workshop) -> None:
    job = await shop.add(webhook=Webhook(url="https://a.example/"))
    [claim] = await shop.store.claim({"small": 1}, lease_s=30.0)
    await pass_time(cast(DatabaseStore, shop.store), 31.0)
    await shop.housekeeping().reap()
    await shop.housekeeping().reap()
    assert claim.job.id == job.id
    assert shop.records.ends == [(job.id, JobStatus.FAILED)]
    assert shop.announcements.events == [("completed", "failed")]
    [delivery] = await shop.store.claim_deliveries(10, 30.0)
    assert delivery.job_id == job.id


async def test_a_canceled_job_is_counted_once_by_all_replicas(shop: Workshop) -> None:
    """With a webhook and without; replicas that reap at a time see the same jobs."""
    jobs = [await shop.add(), await shop.add(webhook=Webhook(url="https://a.example/"))]
    for job in jobs:
        await shop.store.cancel(job.owner, job.id)
    await asyncio.gather(*(shop.housekeeping().reap() for _ in range(4)))
    await shop.housekeeping().reap()
    assert sorted(shop.records.ends) == [(job.id, JobStatus.CANCELED) for job in jobs]
    assert len(await shop.store.claim_deliveries(10, 30.0)) == 1


async def test_a_job_past_its_deadline_ends_without_a_worker(shop: Workshop) -> None:
    job = await shop.add(deadline_s=60.0)
    await pass_time(cast(DatabaseStore, shop.store), 61.0)
    await shop.housekeeping().reap()
    ended = await shop.get(job)
    assert ended.error is not None
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "deadline_exceeded")


async def test_expired_results_are_erased(shop: Workshop) -> None:
    async with shop.working():
        job = await shop.ended(await shop.add())
    assert shop.files() == [f"{job.id}/1/0.wav"]
    await pass_time(cast(DatabaseStore, shop.store), 61.0)
    await shop.housekeeping().sweep()
    assert shop.files() == []
    assert (await shop.get(job)).results_deleted


async def test_a_file_that_cannot_be_erased_keeps_no_other_from_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with shop.working():
        job = await shop.ended(await shop.add(n=2))
    delete = shop.results.delete

    async def fail_once(key: str) -> None:
        if key == f"{job.id}/1/0.wav":
            raise ResultsUnavailable("The bucket of results cannot be reached.")
        await delete(key)

    monkeypatch.setattr(shop.results, "delete", fail_once)
    await pass_time(cast(DatabaseStore, shop.store), 61.0)
    await shop.housekeeping().sweep()
    assert shop.files() == [f"{job.id}/1/0.wav"]
    assert "waits for its erasure" in caplog.text


async def test_all_files_that_are_due_are_erased_at_once(shop: Workshop) -> None:
    """A sweep of the store names a part of them."""
    keys = tuple(f"inputs/{number}" for number in range(1200))
    for key in keys[::100]:
        await shop.results.put(key, b"", "audio/wav")
    await shop.store.erase_later(keys, 0.0)
    await shop.housekeeping().sweep()
    assert shop.files() == []
    assert await shop.store.sweep(1.0) == []


async def test_a_file_is_not_forgotten_while_it_cannot_be_erased(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of the results may outlast all the times that the store names a file."""
    store = cast(DatabaseStore, shop.store)
    await shop.results.put("inputs/1", b"", "audio/wav")
    await store.erase_later(("inputs/1",), 0.0)

    async def away(_: str) -> None:
        raise ResultsUnavailable("The bucket of results cannot be reached.")

    with monkeypatch.context() as outage:
        outage.setattr(shop.results, "delete", away)
        for _ in range(6):
            await shop.housekeeping().sweep()
            await pass_time(store, 3601.0)
    await shop.housekeeping().sweep()
    assert shop.files() == []


async def test_the_store_is_counted(shop: Workshop) -> None:
    await shop.add()
    await shop.housekeeping().count()
    [counted] = shop.records.counts
    assert counted.jobs[JobStatus.QUEUED] == 1


@pytest.mark.parametrize("error", [JobStoreUnavailable("It is full."), Unexpected()], ids=str)
async def test_an_error_does_not_end_the_tasks(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    errors = [error]

    async def fail_once(_: Housekeeping) -> None:
        if errors:
            raise errors.pop()
        shop.records.deliveries.append("counted")

    monkeypatch.setattr(Housekeeping, "count", fail_once)
    monkeypatch.setattr("serve_app.jobs.housekeeping._COUNT_S", 0.01)
    running = asyncio.create_task(shop.housekeeping().run())
    await eventually(lambda: "counted" in shop.records.deliveries)
    running.cancel()
    await asyncio.wait({running})
