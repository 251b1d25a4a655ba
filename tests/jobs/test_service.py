"""The service of jobs: acceptance, states, files and their ends."""

import asyncio
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from serve_app.config.api import AccessConfig
from serve_app.errors import (
    DurationTooLong,
    InvalidAudio,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    PromptTooLong,
    QueueFull,
    Unauthorized,
)
from serve_app.jobs.acceptance import Acceptance
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.errors import (
    AddressRefused,
    IdempotencyMismatch,
    JobHasNoResult,
    JobNotFinished,
    JobNotFound,
    ResultExpired,
)
from serve_app.jobs.ids import new_id
from serve_app.jobs.job import Job, JobRequest, JobStatus, Upload, Webhook
from serve_app.jobs.store import Progressed
from tests.fakes import FakeGenerator
from tests.jobs.patience import PATIENCE_S
from tests.jobs.rooms import CONTENT, JobRoom, job_room, submission
from tests.jobs.stores import pass_time


def wav(duration_s: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(duration_s * 8000)), 8000, format="WAV")
    return file.getvalue()


async def test_a_job_has_its_model_and_its_seed_from_the_start(room: JobRoom) -> None:
    job, is_new = await room.service.submit(submission("  lofi  "))
    assert is_new
    assert (job.request.model, job.request.prompt) == ("small", "lofi")
    claim = await room.claim()
    assert claim.job.request.seed == job.request.seed


async def test_a_job_is_its_owners_alone(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission(owner="a"))
    assert await room.service.get("a", job.id)
    for call in (
        room.service.get("b", job.id),
        room.service.cancel("b", job.id),
        room.service.delete("b", job.id),
        room.service.file("b", job.id, 0),
        room.service.redeliver("b", job.id),
        room.service.get("a", new_id()),
        room.service.get("a", "\0"),
    ):
        with pytest.raises(JobNotFound):
            await call
    assert await room.service.page("b", None, None, 10) == ([], None)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"prompt": ""}, InvalidRequest),
        ({"prompt": "a" * 101}, InvalidRequest),
        ({"prompt": "a\0b"}, InvalidRequest),
        ({"duration_s": 31.0}, DurationTooLong),
        ({"metadata": {"a": "\0"}}, InvalidRequest),
        ({"metadata": {"\ud800": 1}}, InvalidRequest),
        ({"metadata": {"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}, InvalidRequest),
        ({"expires_in_s": 604_801.0}, InvalidRequest),
        ({"n": 2, "upload": Upload(url="https://x.example/")}, InvalidRequest),
        ({"webhook": Webhook(url="https://u:p@x.example/")}, AddressRefused),
        ({"upload": Upload(url="ftp://x.example/")}, AddressRefused),
        ({"audio_prompt": b"no audio"}, InvalidAudio),
        ({"audio_prompt": wav(2.0)}, InvalidRequest),
    ],
)  # fmt: skip
async def test_what_a_generation_refuses_is_refused_at_once(
    room: JobRoom, fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await room.service.submit(submission(**fields))
    assert await room.service.page("", None, None, 10) == ([], None)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "huge"}, ModelNotFound),
        ({"model": "small", "response_format": "mp3", "sample_rate": 8000}, InvalidRequest),
        ({"model": "small", "response_format": "opus", "bitrate_kbps": 320}, InvalidRequest),
        ({"model": "small", "seed": 2**63 - 1, "n": 2}, InvalidRequest),
        ({"model": "small", "prompt": "\u00e9 " * 41}, PromptTooLong),
    ],
)
async def test_so_are_the_options_of_files(
    room: JobRoom, fields: dict[str, Any], error: type[Exception]
) -> None:
    request = JobRequest(**{"prompt": "a", "duration_s": 1.0, **fields})
    with pytest.raises(error):
        await room.service.submit(submission(request=request))


async def test_webhooks_to_private_addresses_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.jobs.addresses._RESOLVE_S", PATIENCE_S)
    async with job_room(tmp_path) as room:
        for address in (Webhook(url="http://127.0.0.1/"), Webhook(url="http://localhost/")):
            with pytest.raises(AddressRefused):
                await room.service.submit(submission(webhook=address))


async def test_a_track_beyond_the_keys_allowance_is_refused(tmp_path: Path) -> None:
    access = AccessConfig(max_audio_s_per_minute=5.0)
    async with job_room(tmp_path, access=access) as room:
        with pytest.raises(InvalidRequest, match="limited to 5 seconds"):
            await room.service.submit(submission(duration_s=6.0))


async def test_auto_chooses_a_ready_model_and_else_waits_for_the_default(room: JobRoom) -> None:
    auto = JobRequest(model="auto", prompt="a", duration_s=1.0)
    job, _ = await room.service.submit(submission(request=auto))
    assert job.request.model == "small"
    room.generator.step_s = {"small": 0.01, "large": 0.01}
    job, _ = await room.service.submit(submission(request=auto))
    assert job.request.model == "large"
    room.generator.loaded = False
    for model_id in ("small", "large"):
        room.service.generation.readiness.forget(model_id)
    job, _ = await room.service.submit(submission(request=auto))
    assert job.request.model == "small"
    with pytest.raises(ModelLoading):
        await room.service.submit(submission(request=auto, max_wait_s=1.0))


async def test_an_owner_has_a_bound_of_unfinished_jobs(tmp_path: Path) -> None:
    async with job_room(tmp_path, max_queued=1) as room:
        await room.service.submit(submission())
        with pytest.raises(QueueFull):
            await room.service.submit(submission(audio_prompt=wav(0.5)))
        assert _files(tmp_path) == [], "the upload of a refused job is erased"


async def test_a_repeated_key_returns_the_first_job(room: JobRoom, tmp_path: Path) -> None:
    first = submission(idempotency_key="k", body_sha256="1", audio_prompt=wav(0.5))
    job, _ = await room.service.submit(first)
    again, is_new = await room.service.submit(first)
    assert (again.id, is_new) == (job.id, False)
    assert len(_files(tmp_path)) == 1, "its upload is stored once"
    with pytest.raises(IdempotencyMismatch):
        await room.service.submit(submission(idempotency_key="k", body_sha256="2"))
    other, is_new = await room.service.submit(
        submission(owner="b", idempotency_key="k", body_sha256="2")
    )
    assert (is_new, other.id == job.id) == (True, False), "keys are the owner's"


async def test_a_repeated_key_is_looked_up_before_anything_is_checked(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first job is returned, though its model or its webhook's name has gone since."""
    first = submission(idempotency_key="k", body_sha256="1")
    job, _ = await room.service.submit(first)

    async def refuse(*_: Any) -> Any:
        raise ModelNotFound("There is no model 'small'")

    monkeypatch.setattr(Acceptance, "check", refuse)
    again, is_new = await room.service.submit(first)
    assert (again.id, is_new) == (job.id, False)
    with pytest.raises(ModelNotFound):
        await room.service.submit(submission(owner="b", idempotency_key="k", body_sha256="1"))


async def test_places_and_estimates(room: JobRoom) -> None:
    """The replica makes a frame each 10 ms: half a second for a second of music; five slots are free."""
    jobs = [(await room.service.submit(submission(duration_s=4.0)))[0] for _ in range(7)]
    places = [await room.service.estimate(job) for job in jobs]
    places.sort(
        key=lambda one: one.queue_position or 0
    )  # those of one millisecond come in any order
    assert [one.queue_position for one in places] == [1, 2, 3, 4, 5, 6, 7]
    assert places[0].eta_s == pytest.approx(2.0)
    assert places[6].eta_s is not None
    assert places[6].eta_s > places[5].eta_s > 2.0  # type: ignore[operator]
    claim = await room.claim()
    await room.progress(claim, 0.75)
    running = await room.service.get("", claim.job.id)
    assert (await room.service.estimate(running)).eta_s == pytest.approx(0.5)
    done = await room.succeed(claim)
    estimate = await room.service.estimate(done)
    assert (estimate.queue_position, estimate.eta_s) == (None, None)


async def test_an_unknown_end_has_no_estimate(tmp_path: Path) -> None:
    async with job_room(tmp_path, FakeGenerator(loaded=False)) as room:
        job, _ = await room.service.submit(submission())
        estimate = await room.service.estimate(job)
    assert (estimate.queue_position, estimate.eta_s) == (1, None)


async def test_waiting_ends_with_the_job_or_with_the_time(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission())
    assert (await room.service.wait(job, 0.1)).status is JobStatus.QUEUED
    waiting = asyncio.create_task(room.service.wait(job, 30.0))
    await room.succeed(await room.claim())
    assert (await asyncio.wait_for(waiting, PATIENCE_S)).status is JobStatus.SUCCEEDED


async def test_waiting_for_a_job_that_is_deleted_tells_nothing_of_it(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission("secret"))
    waiting = asyncio.create_task(room.service.wait(job, 30.0))
    await asyncio.sleep(0)
    await room.service.delete("", job.id)
    with pytest.raises(JobNotFound):
        await asyncio.wait_for(waiting, PATIENCE_S)


async def test_changes_are_told_up_to_the_end(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission())
    changes = room.service.changes("", job.id, 0, heartbeat_s=0.01)
    first = await anext(changes)
    assert first is not None
    assert first.status is JobStatus.QUEUED
    assert await anext(changes) is None, "nothing has changed"
    await room.succeed(await room.claim())
    later = [one async for one in changes if one is not None]
    assert later[-1].status is JobStatus.SUCCEEDED
    versions = [first.version, *(one.version for one in later)]
    assert versions == sorted(set(versions))


async def test_changes_of_a_deleted_job_end(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission())
    changes = room.service.changes("", job.id, job.version, heartbeat_s=0.01)
    assert await anext(changes) is None
    await room.service.delete("", job.id)
    assert [one async for one in changes if one is not None] == []


async def test_files_are_there_once_the_job_has_succeeded(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission(n=2))
    with pytest.raises(JobNotFinished):
        await room.service.file("", job.id, 0)
    await room.succeed(await room.claim())
    file = await room.service.file("", job.id, 1)
    assert (file.media_type, file.size_bytes) == ("audio/wav", len(CONTENT))
    assert file.name == f"{job.id}-1.wav"
    with pytest.raises(JobNotFound, match="2 files"):
        await room.service.file("", job.id, 2)


async def test_a_failed_and_a_canceled_job_have_no_file(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission())
    await room.fail(await room.claim(), {"detail": "The disk is full", "code": "x"})
    with pytest.raises(JobHasNoResult, match=r"failed.*disk is full"):
        await room.service.file("", job.id, 0)
    job, _ = await room.service.submit(submission())
    canceled = await room.service.cancel("", job.id)
    assert canceled.status is JobStatus.CANCELED
    assert (await room.service.cancel("", job.id)).status is JobStatus.CANCELED
    with pytest.raises(JobHasNoResult, match="canceled"):
        await room.service.file("", job.id, 0)


async def test_expired_files_are_gone(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission())
    done = await room.succeed(await room.claim())
    token = (room.service.links.audio(done, 0) or "").partition("?token=")[2]
    await pass_time(cast(DatabaseStore, room.store), 86_401)
    await _expired(room, job, token)
    for key in await room.store.sweep(604_800.0):
        await room.service.results.delete(key)
    await _expired(room, job, token)


async def _expired(room: JobRoom, job: Job, token: str) -> None:
    """Assert that nothing leads to the job's file, whether it is erased yet or not."""
    with pytest.raises(ResultExpired):
        await room.service.file("", job.id, 0)
    with pytest.raises(ResultExpired):
        await room.service.linked_file(job.id, 0, token)
    [listed], _ = await room.service.page("", None, None, 10)
    for shown in (listed, await room.service.get("", job.id)):
        assert (await room.service.describe(shown)).result == []


async def test_a_link_opens_its_own_file_alone(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission(owner="a", n=2))
    done = await room.succeed(await room.claim())
    token = (room.service.links.audio(done, 1) or "").partition("?token=")[2]
    assert (await room.service.linked_file(job.id, 1, token)).key == done.results[1].key
    with pytest.raises(Unauthorized):
        await room.service.linked_file(job.id, 0, token)


async def test_deletion_erases_prompt_upload_and_audio(room: JobRoom, tmp_path: Path) -> None:
    secret = "a very secret prompt"
    job, _ = await room.service.submit(submission(secret, audio_prompt=wav(0.5)))
    await room.succeed(await room.claim())
    assert len(_files(tmp_path)) == 2
    await room.service.delete("", job.id)
    assert _files(tmp_path) == []
    with pytest.raises(JobNotFound):
        await room.service.get("", job.id)


async def test_a_running_job_can_be_deleted(room: JobRoom, tmp_path: Path) -> None:
    job, _ = await room.service.submit(submission(audio_prompt=wav(0.5)))
    claim = await room.claim()
    await room.service.delete("", job.id)
    assert _files(tmp_path) == []
    assert await room.store.heartbeat(claim, Progressed(0.0, 0.0), 30.0) is None, "its worker stops"


def _files(folder: Path) -> list[Path]:
    """The stored files, uploads and results."""
    results = folder / "results"
    return [file for file in results.rglob("*") if file.is_file()]
