"""Retention: results expire, rows are deleted, and every file of a job is named for erasure."""

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import JobStatus, Outcome
from serve_app.jobs.store import Progressed, Settlement
from tests.jobs.stores import (
    HOOK,
    LEASE_S,
    MOST,
    added,
    claimed,
    found,
    message,
    new_job,
    pass_time,
    rows_of,
    success,
)

WEEK_S = 604_800.0


async def test_results_expire_and_the_row_stays(store: DatabaseStore) -> None:
    claim = await claimed(store, n=2, audio_prompt="inputs/1")
    await store.finish(claim, success(claim))
    assert await store.sweep(WEEK_S) == []
    await pass_time(store, 3601)
    keys = await store.sweep(WEEK_S)
    assert {"inputs/1", f"{claim.job.id}/1/0.wav", f"{claim.job.id}/1/1.wav"} <= set(keys)
    job = await found(store, claim.job)
    assert (job.status, job.results, job.results_deleted) == (JobStatus.SUCCEEDED, (), True)
    assert await store.sweep(WEEK_S) == []


async def test_results_are_shown_until_their_time_by_the_databases_clock(
    store: DatabaseStore,
) -> None:
    claim = await claimed(store)
    await store.finish(claim, success(claim))
    job_id = claim.job.id
    assert len((await found(store, claim.job)).results) == 1
    assert await store.is_kept(job_id)
    await pass_time(store, 3601)
    [listed] = await store.page("me", None, None, 10)
    for job in (listed, await found(store, claim.job)):
        assert (job.results, job.results_deleted) == ((), True)
    assert not await store.is_kept(job_id)
    assert f"{job_id}/1/0.wav" in (await store.delete("me", job_id) or ())


async def test_rows_are_deleted_with_all_that_hangs_on_them(store: DatabaseStore) -> None:
    new = new_job(idempotency_key="k", body_sha256="1", webhook=HOOK)
    await store.add(new, MOST)
    [claim] = await store.claim({"nano": 1}, LEASE_S)
    await store.finish(claim, success(claim), (message(),))
    await pass_time(store, 3601)
    await store.sweep(WEEK_S)
    await pass_time(store, WEEK_S - 4200)
    await store.sweep(WEEK_S)
    assert len(await rows_of(store, "jobs")) == 1
    await pass_time(store, 600)
    await store.sweep(WEEK_S)
    for table in ("jobs", "deliveries", "idempotency_keys"):
        assert await rows_of(store, table) == []


async def test_rows_outlive_their_results(store: DatabaseStore) -> None:
    """Also where the configuration keeps rows for a shorter time."""
    claim = await claimed(store)
    await store.finish(claim, success(claim))
    await pass_time(store, 100)
    await store.sweep(10.0)
    assert len((await found(store, claim.job)).results) == 1


async def test_jobs_that_have_not_ended_are_kept(store: DatabaseStore) -> None:
    await claimed(store)
    await added(store)
    await pass_time(store, 10 * WEEK_S)
    assert await store.sweep(WEEK_S) == []
    assert len(await rows_of(store, "jobs")) == 2


async def test_idempotency_keys_are_deleted_after_a_day(store: DatabaseStore) -> None:
    await store.add(new_job(idempotency_key="k"), MOST)
    await store.sweep(WEEK_S)
    assert len(await rows_of(store, "idempotency_keys")) == 1
    await pass_time(store, 86_401)
    await store.sweep(WEEK_S)
    assert await rows_of(store, "idempotency_keys") == []


async def test_addresses_that_were_gone_are_tried_again_after_a_month(
    store: DatabaseStore,
) -> None:
    await store.add(new_job(webhook=HOOK), MOST)
    [claim] = await store.claim({"nano": 1}, LEASE_S)
    await store.finish(claim, success(claim), (message(),))
    [delivery] = await store.claim_deliveries(10, LEASE_S)
    await store.settle(delivery, Settlement(False, 410, disables=True))
    await pass_time(store, 29 * 86_400)
    await store.sweep(10 * WEEK_S)
    assert len(await rows_of(store, "webhooks_disabled")) == 1
    await pass_time(store, 86_401)
    await store.sweep(10 * WEEK_S)
    assert await rows_of(store, "webhooks_disabled") == []


async def test_deleting_a_job_names_the_files_of_all_attempts(store: DatabaseStore) -> None:
    job = await added(store, n=2, audio_prompt="inputs/1")
    for _ in range(2):
        await store.claim({"nano": 1}, LEASE_S)
        await pass_time(store, LEASE_S + 1)
        await store.reap(5)
    keys = await store.delete("me", job.id)
    assert keys is not None
    made = {f"{job.id}/{attempt}/{index}.wav" for attempt in (1, 2) for index in (0, 1)}
    assert {"inputs/1"} | made <= set(keys)
    assert await store.get("me", job.id) is None
    assert await store.delete("me", job.id) is None


async def test_a_running_job_is_deleted_with_its_prompt_and_its_worker_stops(
    store: DatabaseStore,
) -> None:
    new = new_job(idempotency_key="k", webhook=HOOK)
    await store.add(new, MOST)
    [claim] = await store.claim({"nano": 1}, LEASE_S)
    await store.heartbeat(claim, Progressed(0.1, 0.5), LEASE_S, (message("started", "a waltz"),))
    keys = await store.delete("me", claim.job.id)
    assert keys is not None
    for table in ("jobs", "deliveries", "idempotency_keys"):
        assert await rows_of(store, table) == [], "nothing tells of the prompt any more"
    assert await store.heartbeat(claim, Progressed(0.5, 2.5), LEASE_S) is None
    assert await store.finish(claim, success(claim), (message(),)) is None
    assert await store.finish(claim, Outcome(JobStatus.CANCELED), (message(),)) is None
    await store.release(claim)
    assert await store.reap(3) == []
    assert await rows_of(store, "jobs") == await rows_of(store, "deliveries") == []


async def test_files_are_named_again_and_then_forgotten(store: DatabaseStore) -> None:
    """The caller may end before it erases them, and a late worker may write one."""
    claim = await claimed(store)
    keys = await store.delete("me", claim.job.id)
    assert keys
    assert await store.sweep(WEEK_S) == []
    for _ in range(2):
        await pass_time(store, 3601)
        assert sorted(await store.sweep(WEEK_S)) == sorted(keys)
        assert await store.sweep(WEEK_S) == []
    await pass_time(store, 3601)
    assert await store.sweep(WEEK_S) == []
    assert await rows_of(store, "erasures") == []
