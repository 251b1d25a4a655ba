"""Jobs of both clients over the real API, without a model."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from serve_app.client import ApiError, AsyncMusicGenClient, Job, JobFields, JobFile, MusicGenClient
from serve_app.config.jobs import JobsConfig
from serve_app.errors import GenerationFailed, ModelLoading
from serve_app.jobs.description import JobDescription, JobResult
from tests.fakes import FakeGenerator
from tests.served_api import served_api


@pytest.fixture
def served(backend: FakeGenerator, tmp_path: Path) -> Iterator[str]:
    with served_api(backend, jobs=JobsConfig(store=f"sqlite:///{tmp_path / 'jobs.db'}")) as url:
        yield url


def test_the_fields_are_those_of_the_api() -> None:
    assert set(Job.model_fields) == set(JobDescription.model_fields) - {"object"}
    assert set(JobFile.model_fields) == set(JobResult.model_fields)


def test_a_job_from_its_submission_to_its_file(served: str) -> None:
    with MusicGenClient(served) as client:
        job = client.jobs.submit("bells", duration_s=1, n=2, seed=5, metadata={"a": 1})
        done = client.jobs.wait(job.id, timeout_s=120)
        done.check()
        assert (done.status, done.metadata, done.progress) == ("succeeded", {"a": 1}, 1.0)
        assert [file.seed for file in done.result] == [5, 6]
        content = client.jobs.audio(job.id, 1).content
        samples, rate = soundfile.read(io.BytesIO(content))
        assert len(samples) == rate
        assert len(content) == done.result[1].size_bytes
        assert [one.id for one in client.jobs.list()] == [job.id]
        assert [one.id for one in client.jobs.list("queued")] == []
        client.jobs.delete(job.id)
        with pytest.raises(ApiError) as caught:
            client.jobs.get(job.id)
    assert caught.value.code == "job_not_found"


async def test_a_job_is_followed(served: str) -> None:
    async with AsyncMusicGenClient(served) as client:
        job = await client.jobs.submit("bells", duration_s=1)
        states = [one async for one in client.jobs.follow(job.id)]
    assert states[-1].status == "succeeded"
    assert not any(state.has_ended for state in states[:-1])


async def test_simultaneous_repetitions_are_one_job(served: str) -> None:
    async with AsyncMusicGenClient(served) as client:
        fields = JobFields(duration_s=1, seed=1)
        jobs = await asyncio.gather(
            *(client.jobs.submit("bells", idempotency_key="k", **fields) for _ in range(5))
        )
        assert len({job.id for job in jobs}) == 1
        with pytest.raises(ApiError, match="another") as caught:
            await client.jobs.submit("drums", idempotency_key="k", **fields)
    assert caught.value.status == 422


def test_the_error_of_a_job_is_raised(served: str, backend: FakeGenerator) -> None:
    backend.error = GenerationFailed("no luck")
    with MusicGenClient(served) as client:
        done = client.jobs.wait(client.jobs.submit("bells").id)
        assert done.status == "failed"
        with pytest.raises(ApiError, match="no luck") as caught:
            done.check()
    assert caught.value.code == "generation_failed"


def test_a_wait_may_end_before_the_job(served: str, backend: FakeGenerator) -> None:
    backend.error = ModelLoading("No replica is ready")  # the job waits
    with MusicGenClient(served) as client:
        job = client.jobs.submit("bells", model="large", webhook={"url": "https://example.com/"})
        assert client.jobs.wait(job.id, timeout_s=0.2).id == job.id
        client.jobs.cancel(job.id)
        with pytest.raises(ApiError, match="was canceled"):
            client.jobs.wait(job.id).check()


@pytest.mark.parametrize("job_id", ["", "../models", "a/b", "a?b"])
def test_an_id_cannot_lead_elsewhere(job_id: str) -> None:
    with MusicGenClient("http://127.0.0.1:1") as client, pytest.raises(ValueError, match="no id"):
        client.jobs.get(job_id)
