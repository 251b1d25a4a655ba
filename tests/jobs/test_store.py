"""The store of jobs: accepting, reading, leasing and ending, on each database."""

import asyncio
import time
from dataclasses import replace

import pytest

from serve_app.errors import QueueFull
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import IdempotencyMismatch
from serve_app.jobs.ids import is_id
from serve_app.jobs.job import JobStatus, Outcome, Upload
from serve_app.jobs.store import Progressed, QueuePlace
from tests.jobs.stores import (
    HOOK,
    LEASE_S,
    MOST,
    added,
    claimed,
    found,
    new_job,
    pass_time,
    rows_of,
    success,
)

HALF = Progressed(0.5, 2.5)
STRANGE = "NUL \0, a lone surrogate \ud800, ünïcödé 🎷, quotes ' \" and %s :name {now}"


async def test_a_job_is_read_as_it_was_accepted(store: DatabaseStore) -> None:
    new = new_job(
        n=2,
        audio_prompt="inputs/1",
        priority=3,
        metadata={"track": STRANGE},
        details={"base_url": "https://a", "n": [1, None, 1.5]},
        webhook=HOOK,
        upload=Upload(url="https://b", headers={"x": "y"}),
        deadline_s=60.0,
    )
    new = replace(new, request=new.request.model_copy(update={"prompt": STRANGE}))
    job, is_new = await store.add(new, MOST)
    assert is_new
    assert job == await store.get("me", job.id)
    assert (job.request, job.metadata, job.details) == (new.request, new.metadata, new.details)
    assert (job.webhook, job.upload, job.priority) == (new.webhook, new.upload, 3)
    assert (job.status, job.version, job.attempt) == (JobStatus.QUEUED, 1, 0)
    assert job.deadline_at == pytest.approx(job.created_at + 60)
    assert is_id(job.id)


async def test_a_job_is_seen_by_its_owner_alone(store: DatabaseStore) -> None:
    job = await added(store, owner="me")
    assert await store.get("you", job.id) is None
    assert await store.cancel("you", job.id) is None
    assert await store.delete("you", job.id) is None
    assert await store.page("you", None, None, MOST) == []
    assert (await found(store, job)).status is JobStatus.QUEUED


@pytest.mark.parametrize("text", ["", "x", "\0", "a\ud800", "u" * 26, "0" * 26, "é" * 26, "0" * 27])
async def test_texts_that_are_no_ids_name_no_job(store: DatabaseStore, text: str) -> None:
    await added(store)
    assert await store.get("me", text) is None
    assert await store.cancel("me", text) is None
    assert await store.delete("me", text) is None
    assert await store.redeliver("me", text) == 0
    assert await store.page("me", None, text, MOST) == []


async def test_pages_list_the_newest_first(store: DatabaseStore) -> None:
    jobs = [await added(store) for _ in range(5)]
    await added(store, owner="you")
    await store.cancel("me", jobs[1].id)
    ids = sorted((job.id for job in jobs), reverse=True)
    first = await store.page("me", None, None, 3)
    second = await store.page("me", None, first[-1].id, 3)
    assert [job.id for job in first + second] == ids
    [canceled] = await store.page("me", JobStatus.CANCELED, None, MOST)
    assert canceled.id == jobs[1].id
    assert len(await store.page("me", JobStatus.QUEUED, None, MOST)) == 4


async def test_a_repeated_key_returns_the_first_job(store: DatabaseStore) -> None:
    new = new_job(idempotency_key="k", body_sha256="1")
    job, _ = await store.add(new, MOST)
    assert await store.add(new, MOST) == (job, False)
    with pytest.raises(IdempotencyMismatch):
        await store.add(replace(new, body_sha256="2"), MOST)
    other, is_new = await store.add(replace(new, owner="you"), MOST)
    assert is_new
    assert other.id != job.id
    assert await store.add(new, 1) == (job, False), "the limit holds for new jobs only"


async def test_a_key_is_free_after_a_day(store: DatabaseStore) -> None:
    new = new_job(idempotency_key="k", body_sha256="1")
    job, _ = await store.add(new, MOST)
    await pass_time(store, 86_401)
    again, is_new = await store.add(replace(new, body_sha256="2"), MOST)
    assert is_new
    assert again.id != job.id
    assert (await store.add(replace(new, body_sha256="2"), MOST))[0].id == again.id


async def test_a_key_that_comes_many_times_at_once_makes_one_job(store: DatabaseStore) -> None:
    new = new_job(idempotency_key="k", body_sha256="1")
    answers = await asyncio.gather(*(store.add(new, MOST) for _ in range(20)))
    assert len({job.id for job, _ in answers}) == 1
    assert sorted(is_new for _, is_new in answers) == [False] * 19 + [True]
    assert len(await rows_of(store, "jobs")) == 1


async def test_jobs_of_an_owner_are_limited_until_they_end(store: DatabaseStore) -> None:
    job = await added(store)
    await added(store)
    with pytest.raises(QueueFull, match="2 jobs"):
        await store.add(new_job(), 2)
    await store.add(new_job("you"), 2)
    await store.cancel("me", job.id)
    await store.add(new_job(), 2)


async def test_claims_go_by_priority_then_by_age(store: DatabaseStore) -> None:
    first = await added(store)
    await pass_time(store, 1)
    second = await added(store)
    urgent = await added(store, priority=5)
    late = await added(store, priority=-5)
    claims = await store.claim({"nano": 3, "other": 3}, LEASE_S)
    assert [claim.job.id for claim in claims] == [urgent.id, first.id, second.id]
    assert [claim.job.attempt for claim in claims] == [1, 1, 1]
    [rest] = await store.claim({"nano": 3}, LEASE_S)
    assert rest.job.id == late.id
    assert rest.lease != claims[0].lease
    assert await store.claim({"nano": 3}, LEASE_S) == []


async def test_keys_take_turns(store: DatabaseStore) -> None:
    """The queue of one key keeps no job of another back, of whatever priority it is."""
    flood = [await added(store, owner="flood", priority=10) for _ in range(6)]
    await store.claim({"nano": 2}, LEASE_S)
    low = await added(store, owner="me", priority=-10)
    high = await added(store, owner="me", priority=-9)
    order = [await store.claim({"nano": 1}, LEASE_S) for _ in range(4)]
    assert [claim.job.id for [claim] in order] == [high.id, low.id, flood[2].id, flood[3].id]
    third = await added(store, owner="you", priority=-10)
    await added(store, owner="me", priority=10)
    [claim] = await store.claim({"nano": 1}, LEASE_S, {"flood": 1})
    assert claim.job.id == third.id


async def test_claims_stay_within_the_room_of_each_model(store: DatabaseStore) -> None:
    for model in ("a", "b", "b", "b", "c"):
        await added(store, model=model)
    claims = await store.claim({"a": 5, "b": 2, "c": 0}, LEASE_S)
    assert sorted(claim.job.request.model for claim in claims) == ["a", "b", "b"]


async def test_the_place_counts_what_is_claimed_before(store: DatabaseStore) -> None:
    jobs = []
    for priority, duration_s in ((0, 10.0), (0, 20.0), (1, 5.0)):
        jobs.append(await added(store, priority=priority, duration_s=duration_s, n=2))
        await pass_time(store, 1)
    await added(store, model="other", priority=9)
    places = [await store.place(job) for job in jobs]
    assert places == [QueuePlace(2, 10.0), QueuePlace(3, 30.0), QueuePlace(1, 0.0)]
    assert await store.queued_audio_s() == {"nano": 70.0, "other": 5.0}
    await store.claim({"nano": 1}, LEASE_S)
    assert await store.place(jobs[2]) is None
    assert await store.queued_audio_s() == {"nano": 60.0, "other": 5.0}


async def test_a_heartbeat_extends_the_lease_and_records_progress(store: DatabaseStore) -> None:
    claim = await claimed(store)
    await pass_time(store, LEASE_S - 1)
    assert await store.heartbeat(claim, HALF, LEASE_S) is False
    await pass_time(store, LEASE_S - 1)
    assert await store.reap(3) == []
    job = await found(store, claim.job)
    assert (job.status, job.progress, job.audio_s) == (JobStatus.RUNNING, 0.5, 2.5)
    assert job.version == claim.job.version + 1
    await store.heartbeat(claim, HALF, LEASE_S)
    assert (await found(store, job)).version == job.version, "nothing has changed"


async def test_an_end_is_recorded_with_its_results(store: DatabaseStore) -> None:
    claim = await claimed(store, n=2)
    outcome = success(claim)
    job = await store.finish(claim, outcome)
    assert job == await found(store, claim.job)
    assert (job.status, job.results, job.cost_usd) == (JobStatus.SUCCEEDED, outcome.results, 0.5)
    assert (job.progress, job.audio_s) == (1.0, 10.0)
    assert job.finished_at is not None
    assert job.expires_at == pytest.approx(job.finished_at + 3600)


async def test_a_repeated_end_changes_nothing(store: DatabaseStore) -> None:
    """A worker whose connection broke at the commit ends the job again."""
    claim = await claimed(store)
    job = await store.finish(claim, success(claim))
    again = await store.finish(claim, Outcome(JobStatus.FAILED, error={"code": "x"}))
    assert again == job
    assert await store.heartbeat(claim, HALF, LEASE_S) is None


async def test_a_failure_is_recorded_with_its_error(store: DatabaseStore) -> None:
    claim = await claimed(store)
    await store.heartbeat(claim, HALF, LEASE_S)
    error = {"code": "generation_failed", "detail": STRANGE}
    job = await store.finish(claim, Outcome(JobStatus.FAILED, error=error))
    assert job is not None
    assert (job.status, job.error, job.progress) == (JobStatus.FAILED, error, 0.5)


async def test_a_late_worker_changes_nothing(store: DatabaseStore) -> None:
    late = await claimed(store)
    await pass_time(store, LEASE_S + 1)
    await store.reap(3)
    [claim] = await store.claim({"nano": 1}, LEASE_S)
    assert claim.job.attempt == 2
    before = await found(store, claim.job)
    assert await store.heartbeat(late, HALF, LEASE_S) is None
    assert await store.finish(late, success(late)) is None
    await store.release(late)
    assert await found(store, claim.job) == before
    assert await store.finish(claim, success(claim)) is not None


async def test_a_released_job_waits_and_keeps_its_age(store: DatabaseStore) -> None:
    claim = await claimed(store)
    await store.heartbeat(claim, HALF, LEASE_S)
    await store.release(claim, delay_s=600)
    job = await found(store, claim.job)
    assert (job.status, job.attempt, job.progress, job.audio_s) == (JobStatus.QUEUED, 1, 0, 0)
    assert job.started_at is None
    later = await added(store)
    assert [one.job.id for one in await store.claim({"nano": 1}, LEASE_S)] == [later.id]
    await pass_time(store, 601)
    await added(store)
    [again] = await store.claim({"nano": 1}, LEASE_S)
    assert (again.job.id, again.job.attempt) == (job.id, 2)
    await store.release(again, counts=False)
    assert (await found(store, job)).attempt == 1


async def test_a_queued_job_is_canceled_at_once(store: DatabaseStore) -> None:
    job = await added(store)
    canceled = await store.cancel("me", job.id)
    assert canceled is not None
    assert (canceled.status, canceled.version) == (JobStatus.CANCELED, 2)
    assert canceled.finished_at is not None
    assert canceled.expires_at is not None
    assert await store.claim({"nano": 1}, LEASE_S) == []
    assert await store.cancel("me", job.id) == canceled


async def test_the_worker_of_a_running_job_is_asked_to_stop(store: DatabaseStore) -> None:
    claim = await claimed(store)
    asked = await store.cancel("me", claim.job.id)
    assert asked is not None
    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
    assert await store.cancel("me", claim.job.id) == asked
    assert await store.heartbeat(claim, HALF, LEASE_S) is True
    job = await store.finish(claim, Outcome(JobStatus.CANCELED))
    assert job is not None
    assert await store.cancel("me", job.id) == job


async def test_a_job_that_is_released_after_its_cancel_ends(store: DatabaseStore) -> None:
    claim = await claimed(store)
    await store.cancel("me", claim.job.id)
    await store.release(claim)
    assert (await found(store, claim.job)).status is JobStatus.CANCELED


async def test_stats_count_jobs(store: DatabaseStore) -> None:
    assert (await store.stats()).jobs == dict.fromkeys(JobStatus, 0)
    await added(store)
    await pass_time(store, 3600)
    await added(store)
    await store.claim({"nano": 1}, LEASE_S)
    await added(store)
    await pass_time(store, 1000)
    stats = await store.stats()
    assert stats.jobs[JobStatus.QUEUED] == 2
    assert stats.jobs[JobStatus.RUNNING] == 1
    assert 1000 <= stats.oldest_queued_s < 4600, "not that of the running one"


async def test_the_callers_clock_is_never_used(
    store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingress whose clock is a day ahead sees the same ages, leases and order of jobs."""
    first = await added(store)
    await pass_time(store, 1)
    ahead = time.time() + 86_400
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: ahead)
        patch.setattr(time, "time_ns", lambda: int(ahead * 1e9))
        second = await added(store)
        [claim] = await store.claim({"nano": 1}, LEASE_S)
        assert await store.reap(1) == []
        assert await store.sweep(3600) == []
    third = await added(store)
    assert claim.job.id == first.id
    assert second.created_at == pytest.approx(time.time(), abs=3600)
    assert sorted([third.id, second.id, first.id]) == [first.id, second.id, third.id]
    assert await store.heartbeat(claim, HALF, LEASE_S) is False
