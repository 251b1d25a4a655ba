"""The worker over a real SQLite store: every job ends once, with its own audio, or says why not."""

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from time import time
from typing import Any, cast

import numpy as np
import pytest
import soundfile as sf

from serve_app.config.api import AccessConfig
from serve_app.config.jobs import JobsConfig, WebhookConfig
from serve_app.errors import (
    GenerationFailed,
    ModelLoading,
    QueueFull,
    ReplicaFailed,
    ReplicaUnreachable,
)
from serve_app.jobs import lease
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import JobStoreUnavailable, ResultsUnavailable
from serve_app.jobs.job import Claim, Job, JobStatus, Upload, Webhook
from serve_app.jobs.observer import LogJobObserver
from serve_app.jobs.store import JobStore
from serve_app.model_status import ReplicaStatus
from tests.fakes import Unexpected
from tests.jobs.patience import PATIENCE_S
from tests.jobs.stores import pass_time
from tests.jobs.workshop import (
    OWNER,
    Workshop,
    eventually,
    has_looked,
    level_of,
    workshop,
)
from tests.raw_server import answer, raw_server


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    async with workshop(tmp_path) as shop:
        yield shop


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.jobs.job_run._RETRY_S", 0.02)
    monkeypatch.setattr("serve_app.jobs.job_run._WAIT_S", 0.02)
    monkeypatch.setattr("serve_app.jobs.job_run._ABSENT_S", 0.02)
    monkeypatch.setattr("serve_app.jobs.worker._SHORTEST_POLL_S", 0.02)


async def level_in(shop: Workshop, job: Job, index: int = 0) -> float:
    """The level of a result's samples, which tells the seed."""
    key = job.results[index].key
    assert key is not None
    samples, rate = sf.read(io.BytesIO(await shop.content(key)), dtype="float32")
    assert rate == 32_000
    assert len(samples) == round(job.request.duration_s * rate)
    assert np.ptp(samples) < 1e-3
    return float(samples.mean())


async def test_a_job_ends_with_its_own_audio(shop: Workshop) -> None:
    async with shop.working():
        job = await shop.ended(await shop.add(seed=7))
    assert (job.status, job.attempt, job.error) == (JobStatus.SUCCEEDED, 1, None)
    assert (job.progress, job.audio_s) == (1.0, 0.5)
    [result] = job.results
    content = await shop.content(result.key or "")
    assert result.key == f"{job.id}/1/0.wav"
    assert result.size_bytes == len(content)
    assert result.sha256 == hashlib.sha256(content).hexdigest()
    assert (result.media_type, result.duration_s) == ("audio/wav", 0.5)
    assert (result.report["seed"], result.report["model"]) == (7, "small")
    assert job.cost_usd == 0.0005
    assert await level_in(shop, job) == pytest.approx(level_of(7), abs=1e-3)
    [request] = shop.studio.requests
    assert (request.background, request.caller, request.request_id) == (True, OWNER, job.id)
    assert not request.streamed
    assert 0 < request.patience_s <= 60.0


async def test_variations_have_the_following_seeds(shop: Workshop) -> None:
    async with shop.working():
        job = await shop.ended(await shop.add(seed=3, n=4, response_format="flac"))
    assert [result.report["seed"] for result in job.results] == [3, 4, 5, 6]
    assert [result.key for result in job.results] == [f"{job.id}/1/{n}.flac" for n in range(4)]
    for index in range(4):
        assert await level_in(shop, job, index) == pytest.approx(level_of(3 + index), abs=1e-3)
    assert job.audio_s == 2.0
    assert job.cost_usd == 0.002


async def test_an_audio_prompt_is_cut_to_its_part(shop: Workshop) -> None:
    ramp = np.linspace(0, 0.9, 3 * 32_000, dtype=np.float32)
    file = io.BytesIO()
    sf.write(file, ramp, 32_000, format="WAV", subtype="FLOAT")
    await shop.results.put("inputs/a", file.getvalue(), "audio/wav")
    part = {"audio_prompt": "inputs/a", "audio_prompt_start_s": 0.5, "audio_prompt_end_s": 1.25}
    async with shop.working():
        await shop.ended(await shop.add(**part))
        empty = await shop.ended(await shop.add(audio_prompt="inputs/a", audio_prompt_start_s=3.0))
        missing = await shop.ended(await shop.add(audio_prompt="inputs/b"))
    prompt = shop.studio.requests[0].audio_prompt
    assert prompt is not None
    np.testing.assert_allclose(prompt.samples[0], ramp[16_000:40_000], atol=1e-4)
    assert empty.error is not None
    assert (empty.status, empty.error["code"]) == (JobStatus.FAILED, "invalid_audio")
    assert missing.error is not None
    assert (missing.status, missing.error["code"]) == (JobStatus.FAILED, "result_expired")


async def test_a_melody_is_read_anew_in_each_attempt_and_cut_to_its_part(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.gateway.retries.MAX_TRIES", 1)
    ramp = np.linspace(0, 0.9, 2 * 32_000, dtype=np.float32)
    file = io.BytesIO()
    sf.write(file, ramp, 32_000, format="WAV", subtype="FLOAT")
    await shop.results.put("inputs/a", file.getvalue(), "audio/wav")
    shop.studio.errors = [ReplicaFailed("gone")]
    async with shop.working():
        job = await shop.add(melody="inputs/a", melody_start_s=0.5, melody_end_s=1.25)
        ended = await shop.ended(job)
    assert ended.attempt == 2
    heard = [request.melody for request in shop.studio.requests]
    assert len(heard) == 2
    for melody in heard:
        assert melody is not None
        np.testing.assert_allclose(melody.samples[0], ramp[16_000:40_000], atol=1e-4)


async def test_progress_is_told_while_the_track_is_made(shop: Workshop) -> None:
    shop.studio.gate.clear()
    webhook = Webhook(url="https://a.example/", events=("started", "progress", "completed"))
    patient = WebhookConfig(progress_interval_s=3600.0)
    shop.config = shop.config.model_copy(update={"webhooks": patient})
    async with shop.working():
        job = await shop.add(webhook=webhook, duration_s=1.0)
        running = await shop.until(job, lambda found: found.progress > 0.8)
        assert running.status is JobStatus.RUNNING
        assert running.progress == pytest.approx(0.9)
        assert running.audio_s == pytest.approx(0.9)
        shop.studio.gate.set()
        await shop.ended(job)
    assert shop.announcements.events == [("started", "running"), ("completed", "succeeded")]


async def test_the_webhook_is_in_the_outbox_with_the_end(shop: Workshop) -> None:
    async with shop.working():
        job = await shop.ended(await shop.add(webhook=Webhook(url="https://a.example/")))
    [delivery] = await shop.store.claim_deliveries(10, 30.0)
    assert (delivery.job_id, delivery.event, delivery.owner) == (job.id, "completed", OWNER)
    assert json.loads(delivery.body) == {"status": "succeeded"}


async def test_a_cancel_is_obeyed_within_a_second(shop: Workshop) -> None:
    """Not at the next heartbeat alone, which here is rare."""
    assert lease.PULSE_S < 0.5
    shop.config = shop.config.model_copy(update={"lease_s": 3600.0})
    shop.studio.gate.clear()
    async with shop.working():
        job = await shop.add(n=2)
        await eventually(lambda: shop.studio.held == 2)
        await shop.store.cancel(OWNER, job.id)
        ended = await shop.ended(job)
        await eventually(lambda: shop.studio.held == 0)
    assert (ended.status, ended.results) == (JobStatus.CANCELED, ())
    assert shop.files() == []


async def test_a_deleted_job_stops_and_leaves_no_file(shop: Workshop) -> None:
    shop.studio.gate.clear()
    async with shop.working():
        job = await shop.add()
        await eventually(lambda: shop.studio.held == 1)
        assert await shop.store.delete(OWNER, job.id) is not None
        await eventually(lambda: shop.studio.held == 0)
        await eventually(lambda: shop.records.erasures != [])
    assert shop.records.erasures == [job.id]
    assert shop.records.returns == []
    assert shop.files() == []


async def test_a_job_that_is_deleted_at_its_end_was_erased(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = shop.store.finish

    async def late(claim: Claim, *rest: Any) -> Job | None:
        await shop.store.delete(OWNER, claim.job.id)
        return await finish(claim, *rest)

    monkeypatch.setattr(shop.store, "finish", late)
    async with shop.working():
        job = await shop.add()
        await eventually(lambda: shop.records.erasures == [job.id])
    assert shop.records.returns == shop.records.ends == []
    assert shop.files() == []


async def test_a_stopped_worker_returns_its_jobs_without_counting(shop: Workshop) -> None:
    shop.studio.gate.clear()
    async with shop.working():
        job = await shop.add(seed=5)
        await eventually(lambda: shop.studio.held == 1)
    returned = await shop.get(job)
    assert (returned.status, returned.attempt) == (JobStatus.QUEUED, 0)
    assert shop.studio.held == 0
    shop.studio.gate.set()
    async with shop.working():
        ended = await shop.ended(job)
    assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 1)
    assert await level_in(shop, ended) == pytest.approx(level_of(5), abs=1e-3)


async def test_an_end_that_comes_too_late_is_not_recorded(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease passed while the track was made, and the job is in the queue again."""
    finish = shop.store.finish
    late = True

    async def finish_late(*arguments: Any) -> Job | None:
        nonlocal late
        if late:
            late = False
            await pass_time(cast(DatabaseStore, shop.store), 2 * shop.config.lease_s)
            await shop.housekeeping().reap()
        return await finish(*arguments)

    monkeypatch.setattr(shop.store, "finish", finish_late)
    async with shop.working():
        ended = await shop.ended(job := await shop.add())
    assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 2)
    assert shop.records.returns == [(job.id, "lost")]
    assert shop.records.ends == [(job.id, JobStatus.SUCCEEDED)]
    assert shop.files() == [f"{job.id}/2/0.wav"]


async def test_a_lost_worker_writes_nothing_any_more(tmp_path: Path) -> None:
    """Its lease passes while it cannot reach the store; another worker ends the job, once."""
    config = JobsConfig().model_copy(update={"lease_s": 0.6})
    async with workshop(tmp_path, config) as shop:
        shop.studio.gate.clear()
        cut_off = CutOff(shop)
        async with shop.working(shop.worker(cast(JobStore, cut_off))):
            job = await shop.add(seed=9)
            await eventually(lambda: shop.studio.held == 1)
            cut_off.is_cut = True
            await eventually(lambda: (job.id, "lost") in shop.records.returns)
            await _expire(shop, job)
            shop.studio.gate.set()
            async with shop.working():
                ended = await shop.ended(job)
            cut_off.is_cut = False
    assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 2)
    assert shop.records.ends == [(job.id, JobStatus.SUCCEEDED)]
    assert shop.files() == [f"{job.id}/2/0.wav"]


class CutOff:
    """A store that is out of reach while `is_cut`."""

    def __init__(self, shop: Workshop) -> None:
        self._store = shop.store
        self.is_cut = False
        self.failures = 0

    def __getattr__(self, name: str) -> object:
        if self.is_cut:
            return self._fail
        return getattr(self._store, name)

    async def _fail(self, *_: object, **__: object) -> None:
        self.failures += 1
        raise JobStoreUnavailable("The database of jobs cannot be reached.")


async def _expire(shop: Workshop, job: Job) -> None:
    """Reap until the lease of a running job has passed."""
    async with asyncio.timeout(PATIENCE_S):
        while (await shop.get(job)).status is JobStatus.RUNNING:
            await asyncio.sleep(0.1)
            await shop.housekeeping().reap()


@pytest.mark.parametrize("error", [ReplicaFailed, ResultsUnavailable])
async def test_a_retryable_error_is_tried_again_up_to_max_attempts(
    shop: Workshop, error: type[ReplicaFailed | ResultsUnavailable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.gateway.retries.MAX_TRIES", 1)
    shop.studio.errors = [error("Not now.") for _ in range(5)]
    async with shop.working():
        job = await shop.ended(await shop.add())
    assert job.error is not None
    assert (job.status, job.attempt, job.error["code"]) == (JobStatus.FAILED, 3, error.code)
    assert job.error["detail"] == "Not now."
    assert len(shop.studio.requests) == 3


async def test_an_attempt_after_an_error_makes_the_same_track(shop: Workshop) -> None:
    shop.studio.errors = [ResultsUnavailable("Not now.")]
    async with shop.working():
        job = await shop.ended(await shop.add(seed=11))
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 2)
    assert [request.sampling.seed for request in shop.studio.requests] == [11, 11]
    assert await level_in(shop, job) == pytest.approx(level_of(11), abs=1e-3)


async def test_the_loss_of_a_replica_is_met_by_the_gateways_retries(shop: Workshop) -> None:
    shop.studio.errors = [ReplicaUnreachable("lost"), ReplicaUnreachable("lost")]
    async with shop.working():
        job = await shop.ended(await shop.add())
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert len(shop.studio.requests) == 3


@pytest.mark.parametrize("error", [ModelLoading, QueueFull])
async def test_a_service_without_room_counts_no_attempt(
    shop: Workshop, error: type[ModelLoading | QueueFull]
) -> None:
    shop.studio.errors = [error("Not now.", 0.01) for _ in range(5)]
    async with shop.working():
        job = await shop.ended(await shop.add())
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert [reason for _, reason in shop.records.returns] == 5 * [error.code]


@pytest.mark.parametrize(
    ("error", "code"),
    [(GenerationFailed("no"), "generation_failed"), (Unexpected(), "internal_error")],
)
async def test_other_errors_fail_the_job_at_once(
    shop: Workshop, error: Exception, code: str
) -> None:
    shop.studio.errors = [error]
    async with shop.working():
        job = await shop.ended(await shop.add())
        next_one = await shop.ended(await shop.add())
    assert job.error is not None
    assert (job.status, job.attempt, job.error["code"]) == (JobStatus.FAILED, 1, code)
    assert "secret.py" not in str(job.error)
    assert next_one.status is JobStatus.SUCCEEDED


async def test_a_job_for_a_model_that_is_not_served_fails_in_the_end(shop: Workshop) -> None:
    async with shop.working():
        job = await shop.ended(await shop.add(model="huge"))
    assert job.error is not None
    assert (job.status, job.attempt, job.error["code"]) == (JobStatus.FAILED, 3, "model_not_found")


async def test_a_full_disk_fails_the_job_and_the_worker_goes_on(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ResultsUnavailable("The disk of results is full.")

    with monkeypatch.context() as patch:
        patch.setattr(shop.results, "put", fail)
        async with shop.working():
            job = await shop.ended(await shop.add())
    async with shop.working():
        next_one = await shop.ended(await shop.add())
    assert job.error is not None
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, "results_unavailable")
    assert job.error["detail"] == "The disk of results is full."
    assert next_one.status is JobStatus.SUCCEEDED


async def test_a_failed_variation_leaves_no_file(shop: Workshop) -> None:
    shop.studio.errors = [GenerationFailed("no")]
    async with shop.working():
        job = await shop.ended(await shop.add(n=3))
    assert job.status is JobStatus.FAILED
    assert shop.files() == []


async def test_a_deadline_ends_the_job(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second after the attempt has begun, however long the job was in the queue."""
    monkeypatch.setattr("serve_app.jobs.attempt.time", lambda: time() - 3599.5)
    shop.studio.gate.clear()
    async with shop.working():
        job = await shop.ended(await shop.add(deadline_s=3600.0))
    assert job.error is not None
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, "deadline_exceeded")
    assert shop.studio.held == 0


async def test_a_deadline_is_counted_by_the_databases_clock(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's clock is an hour ahead."""
    monkeypatch.setattr("serve_app.jobs.attempt.time", lambda: time() + 3600)
    monkeypatch.setattr("serve_app.gateway.deadlines.time", lambda: time() + 3600)
    async with shop.working():
        job = await shop.ended(await shop.add(deadline_s=60.0))
    assert job.status is JobStatus.SUCCEEDED


async def test_an_upload_address_gets_the_file(shop: Workshop) -> None:
    with raw_server(answer("503 Busy"), answer("200 OK")) as server:
        upload = Upload(url=f"{server.url}/put?token=a", headers={"X-Upsert": "true", "Host": "b"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("serve_app.jobs.upload._PAUSES_S", (0.01, 0.01))
            async with shop.working():
                job = await shop.ended(await shop.add(upload=upload))
    [result] = job.results
    assert (job.status, result.key) == (JobStatus.SUCCEEDED, None)
    head, _, content = server.requests[1].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /put?token=a HTTP/1.1")
    assert b"x-upsert: true" in head
    assert b"content-type: audio/wav" in head
    assert b"host: b" not in head.lower()
    assert hashlib.sha256(content).hexdigest() == result.sha256
    assert shop.files() == []


async def test_an_upload_address_that_refuses_fails_the_job(shop: Workshop) -> None:
    with raw_server(answer("403 Forbidden")) as server:
        async with shop.working():
            job = await shop.ended(await shop.add(upload=Upload(url=f"{server.url}/put?token=a")))
    assert job.error is not None
    assert (job.status, job.error["code"]) == (JobStatus.FAILED, "upload_failed")
    assert "it answered 403" in job.error["detail"]
    assert "token" not in str(job.error)
    assert len(server.requests) == 1


async def test_limits_of_the_key_hold_and_the_job_waits_for_them(tmp_path: Path) -> None:
    async with workshop(tmp_path, access=AccessConfig(max_concurrent_requests=1)) as shop:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("serve_app.jobs.attempt._PAUSE_S", 0.01)
            async with shop.working():
                jobs = [await shop.add(n=3), await shop.add(), await shop.add()]
                ends = [await shop.ended(job) for job in jobs]
    assert [job.status for job in ends] == 3 * [JobStatus.SUCCEEDED]
    assert [job.attempt for job in ends] == [1, 1, 1]
    assert shop.studio.most_held == 1


async def test_no_more_is_claimed_than_there_is_room_for(shop: Workshop) -> None:
    """Seven of eight slots, and two jobs ahead; the others stay in the queue, where all see them."""
    shop.studio.gate.clear()
    async with shop.working() as worker:
        jobs = [await shop.add(priority=priority) for priority in [0] * 11 + [5]]
        await eventually(lambda: shop.studio.held == 7)
        while await _running(shop, jobs) < 9:
            await has_looked(worker)
        await has_looked(worker)
        assert shop.studio.held == 7
        assert await _running(shop, jobs) == 9
        shop.studio.gate.set()
        assert {(await shop.ended(job)).status for job in jobs} == {JobStatus.SUCCEEDED}
    assert shop.studio.most_held == 7


async def _running(shop: Workshop, jobs: list[Job]) -> int:
    """Count the jobs that a worker has claimed."""
    return [(await shop.get(job)).status for job in jobs].count(JobStatus.RUNNING)


async def test_the_higher_priority_goes_first(shop: Workshop) -> None:
    shop.studio.slots = 1
    order = [await shop.add(priority=priority, seed=priority) for priority in (0, 3, 10)]
    async with shop.working():
        for job in order:
            await shop.ended(job)
    assert [request.sampling.seed for request in shop.studio.requests] == [10, 3, 0]


async def test_interactive_requests_keep_jobs_back_until_their_patience_ends(
    tmp_path: Path,
) -> None:
    async with workshop(tmp_path, JobsConfig(patience_s=3600.0)) as shop:
        shop.studio.interactive = 20
        async with shop.working() as worker:
            job = await shop.add()
            await shop.until(job, lambda found: found.status is JobStatus.RUNNING)
            await has_looked(worker)
            assert shop.studio.requests == []
    async with workshop(tmp_path, JobsConfig(patience_s=0.5)) as shop:
        shop.studio.interactive = 20
        async with shop.working():
            await shop.ended(job)
    [request] = shop.studio.requests
    assert request.patience_s < 0.05


async def test_a_model_without_a_replica_gets_one_job(shop: Workshop) -> None:
    shop.studio.gate.clear()
    async with shop.working() as worker:
        jobs = [await shop.add(model="large") for _ in range(4)]
        await eventually(lambda: shop.studio.held == 1)
        await has_looked(worker)
        assert await _running(shop, jobs) == 1
        shop.studio.gate.set()
        for job in jobs:
            await shop.ended(job)


async def test_max_running_bounds_the_worker(tmp_path: Path) -> None:
    async with workshop(tmp_path, JobsConfig(lease_s=3.0, max_running=2)) as shop, shop.working():
        for job in [await shop.add() for _ in range(5)]:
            await shop.ended(job)
    assert shop.studio.most_held <= 2


async def test_queued_seconds_are_told_until_the_queue_is_empty(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.jobs.worker._NOTE_S", 0.0)
    for _ in range(20):
        await shop.add(duration_s=1.0, n=2)
    async with shop.working():
        await eventually(lambda: ("small", 0.0) in shop.studio.noted)
    assert shop.studio.noted[0] == ("small", 40.0)
    assert shop.studio.noted.count(("small", 0.0)) == 1


async def test_an_idle_worker_asks_neither_replicas_nor_for_claims(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        pytest.fail("an idle worker has no reason to ask")

    monkeypatch.setattr(shop.studio, "replicas", fail)
    monkeypatch.setattr(shop.store, "claim", fail)
    worker = shop.worker()
    async with shop.working(worker):
        await eventually(lambda: worker._poll_s == 1.0)


async def test_a_nudge_starts_a_job_at_once(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.jobs.worker._SHORTEST_POLL_S", 60.0)
    monkeypatch.setattr("serve_app.jobs.worker._LONGEST_POLL_S", 60.0)
    async with shop.working() as worker:
        await asyncio.sleep(0.05)
        job = await shop.add()
        worker.nudge()
        assert (await shop.ended(job)).status is JobStatus.SUCCEEDED


async def test_an_unreachable_store_is_told_once_and_waited_for(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve_app.jobs.worker._LONGEST_POLL_S", 0.01)
    cut_off = CutOff(shop)
    cut_off.is_cut = True
    async with shop.working(shop.worker(cast(JobStore, cut_off))):
        job = await shop.add()
        await eventually(lambda: cut_off.failures >= 3)
        cut_off.is_cut = False
        assert (await shop.ended(job)).status is JobStatus.SUCCEEDED
    assert caplog.text.count("No jobs are claimed for now") == 1


async def test_an_unexpected_error_does_not_end_the_worker(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve_app.jobs.worker._LONGEST_POLL_S", 0.01)
    replicas = shop.studio.replicas
    errors: list[Exception] = [Unexpected()]

    async def fail_once(model_id: str) -> list[ReplicaStatus]:
        if errors:
            raise errors.pop()
        return await replicas(model_id)

    monkeypatch.setattr(shop.studio, "replicas", fail_once)
    async with shop.working():
        assert (await shop.ended(await shop.add())).status is JobStatus.SUCCEEDED
    assert "The worker of jobs met an unexpected error" in caplog.text


async def test_two_workers_share_the_jobs(shop: Workshop) -> None:
    jobs = [await shop.add(seed=seed, duration_s=0.2) for seed in range(40)]
    async with shop.working(), shop.working():
        ends = [await shop.ended(job) for job in jobs]
    assert {job.status for job in ends} == {JobStatus.SUCCEEDED}
    assert sorted(request.sampling.seed for request in shop.studio.requests) == list(range(40))
    assert sorted(job_id for job_id, _ in shop.records.ends) == sorted(job.id for job in jobs)


@pytest.mark.parametrize("with_prompts", [False, True])
async def test_logs_tell_prompts_only_if_wanted(
    shop: Workshop, with_prompts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = await shop.add(prompt="my secret song")
    observer = LogJobObserver(with_prompts)
    observer.started(job)
    observer.returned(job, "lost")
    observer.erased(job)
    observer.ended(job)
    shop.studio.errors = [Unexpected()]
    async with shop.working():
        await shop.ended(job)
    assert ("my secret song" in caplog.text) == with_prompts
    assert job.id in caplog.text
    assert "of key 'maria'" in caplog.text
