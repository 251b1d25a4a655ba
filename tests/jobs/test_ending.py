"""Jobs that end without a worker: lost leases, deadlines, cancels, and their announcements."""

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import JobStatus
from serve_app.jobs.store import Progressed
from tests.jobs.stores import (
    HOOK,
    LEASE_S,
    MOST,
    added,
    claimed,
    found,
    message,
    pass_time,
    rows_of,
    success,
)


async def test_the_job_of_a_lost_worker_is_queued_again(store: DatabaseStore) -> None:
    claim = await claimed(store)
    assert await store.reap(2) == []
    assert (await found(store, claim.job)).status is JobStatus.RUNNING
    await pass_time(store, LEASE_S + 1)
    assert await store.reap(2) == []
    job = await found(store, claim.job)
    assert (job.status, job.attempt, job.progress) == (JobStatus.QUEUED, 1, 0)


async def test_a_job_whose_workers_are_lost_often_enough_fails(store: DatabaseStore) -> None:
    job = await added(store)
    for _ in range(2):
        await store.claim({"nano": 1}, LEASE_S)
        await pass_time(store, LEASE_S + 1)
        ended = await store.reap(2)
    [failed] = ended
    assert failed == await found(store, job)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "worker_lost"
    assert await store.announce(failed, ())
    assert await store.reap(2) == []


async def test_jobs_end_at_their_deadline(store: DatabaseStore) -> None:
    """Queued ones and running ones. A job whose deadline has passed is not begun."""
    running = await claimed(store, deadline_s=1000.0)
    queued = await added(store, deadline_s=1000.0)
    unlimited = await added(store)
    in_time = await added(store, deadline_s=5000.0)
    await pass_time(store, 1001)
    claims = await store.claim({"nano": MOST}, LEASE_S)
    assert {claim.job.id for claim in claims} == {unlimited.id, in_time.id}
    ended = await store.reap(3)
    assert {job.id for job in ended} == {running.job.id, queued.id}
    for job in ended:
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error["code"] == "deadline_exceeded"
    assert await store.heartbeat(running, Progressed(0.5, 1.0), LEASE_S) is None
    assert await store.finish(running, success(running)) is None


async def test_a_lost_job_that_was_to_be_canceled_is(store: DatabaseStore) -> None:
    claim = await claimed(store)
    await store.cancel("me", claim.job.id)
    await pass_time(store, LEASE_S + 1)
    [job] = await store.reap(1)
    assert (job.id, job.status) == (claim.job.id, JobStatus.CANCELED)


async def test_an_end_without_a_worker_is_announced_once(store: DatabaseStore) -> None:
    """A reaper that ends before it announces leaves the job to the next one."""
    job = await added(store, webhook=HOOK)
    await store.cancel("me", job.id)
    [canceled] = await store.reap(3)
    assert [one.id for one in await store.reap(3)] == [job.id]
    assert await store.announce(canceled, (message(),))
    assert not await store.announce(canceled, (message(),))
    assert await store.reap(3) == []
    [row] = await rows_of(store, "deliveries")
    assert (row["event"], row["owner"], row["job_id"]) == ("completed", "me", job.id)


async def test_a_worker_announces_its_own_end(store: DatabaseStore) -> None:
    claim = await claimed(store, webhook=HOOK)
    await store.finish(claim, success(claim), (message(),))
    assert await store.reap(3) == []
    assert len(await rows_of(store, "deliveries")) == 1


async def test_a_job_without_a_webhook_is_announced_too(store: DatabaseStore) -> None:
    """Without messages, so that it is counted once."""
    job = await added(store)
    await store.cancel("me", job.id)
    [canceled] = await store.reap(3)
    assert [await store.announce(canceled, ()) for _ in range(2)] == [True, False]
    assert await store.reap(3) == []
    assert await rows_of(store, "deliveries") == []
