"""The jobs of an ingress replica: chosen, opened, worked on, closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

import serve_app.jobs.runtime
from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.config.jobs import JobsConfig
from serve_app.errors import ConfigError
from serve_app.jobs.observer import LogJobObserver
from serve_app.jobs.runtime import OFF, UNSHARED, JobRuntime
from tests.fakes import SMALL
from tests.jobs.workshop import Studio
from tests.postgres import postgres_server

TRACK = {"prompt": "lofi", "duration_s": 0.5, "seed": 7}


def runtime_of(config: JobsConfig, **environment: str) -> JobRuntime:
    runtime = JobRuntime.of(config, LogJobObserver(), environment)
    assert isinstance(runtime, JobRuntime)
    return runtime


@asynccontextmanager
async def served(runtime: JobRuntime) -> AsyncIterator[httpx.AsyncClient]:
    """The API with its jobs, from the start of the app to its end."""
    studio = Studio()
    studio.gate.set()
    app = create_api(
        studio, studio, [SMALL], None, ApiConfig(), jobs=runtime.service, beside=runtime.running()
    )
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def test_a_job_is_made_behind_the_api(tmp_path: Path) -> None:
    runtime = runtime_of(JobsConfig(store=f"sqlite:///{tmp_path / 'jobs.db'}"))
    async with served(runtime) as client:
        answer = await client.post("/v1/jobs", json=TRACK, headers={"prefer": "wait=10"})
        job = answer.json()
        assert (answer.status_code, job["status"]) == (200, "succeeded"), answer.text
        [result] = job["result"]
        file = await client.get(result["url"])
        assert (file.status_code, len(file.content)) == (200, result["size_bytes"])
        assert (await client.delete(f"/v1/jobs/{job['id']}")).is_success
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


async def test_jobs_wait_for_the_next_start(tmp_path: Path) -> None:
    config = JobsConfig(store=f"sqlite:///{tmp_path / 'jobs.db'}", max_running=1)
    async with served(runtime_of(config)) as client:
        ids = [(await client.post("/v1/jobs", json=TRACK)).json()["id"] for _ in range(3)]
    async with served(runtime_of(config)) as client:
        for job_id in ids:
            answer = await client.get(f"/v1/jobs/{job_id}", headers={"prefer": "wait=10"})
            assert answer.json()["status"] == "succeeded"


def test_jobs_may_be_turned_off() -> None:
    assert JobRuntime.of(JobsConfig(enabled=False), LogJobObserver()) == OFF


def test_the_default_stores_of_several_nodes_turn_jobs_off(tmp_path: Path) -> None:
    environment = {"XDG_DATA_HOME": str(tmp_path)}
    assert JobRuntime.of(JobsConfig(), LogJobObserver(), environment, node_count=2) == UNSHARED


def test_named_stores_of_one_node_are_refused_on_several() -> None:
    named = JobsConfig(store="sqlite:////data/jobs.db")
    with pytest.raises(ConfigError, match="2 nodes"):
        JobRuntime.of(named, LogJobObserver(), {}, node_count=2)


async def test_a_named_store_that_cannot_be_used_stops_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    runtime = runtime_of(JobsConfig(store=f"sqlite:///{tmp_path}/file/jobs.db"))
    with pytest.raises(ConfigError, match="cannot be written"):
        async with runtime.running():
            pass
    assert "Jobs cannot be kept" in caplog.text


async def test_a_default_store_that_cannot_be_used_leaves_the_service_without_jobs(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    async with served(runtime_of(JobsConfig(), XDG_DATA_HOME=str(tmp_path / "file"))) as client:
        answer = await client.post("/v1/jobs", json=TRACK)
        assert (answer.status_code, answer.json()["code"]) == (503, "job_store_unavailable")
        answer = await client.post("/v1/audio/generations", json=TRACK)
        assert answer.status_code == 200


async def test_a_database_that_was_out_of_reach_is_used_once_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service starts without it: requests that need no job are served."""
    monkeypatch.setattr(serve_app.jobs.runtime, "REOPEN_S", 0.05)
    with postgres_server() as server:
        config = JobsConfig(store=server.url(server.new_database()))
        server.stop("fast")
        async with served(runtime_of(config)) as client:
            answer = await client.post("/v1/jobs", json=TRACK)
            assert (answer.status_code, answer.json()["code"]) == (503, "job_store_unavailable")
            assert (await client.post("/v1/audio/generations", json=TRACK)).status_code == 200
            server.start()
            async with asyncio.timeout(30):
                while True:
                    answer = await client.post("/v1/jobs", json=TRACK)
                    if answer.status_code == 202:
                        break
                    await asyncio.sleep(0.05)
