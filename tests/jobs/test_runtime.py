"""The jobs of an ingress replica: chosen, opened, worked on, closed."""

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

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
from tests.jobs.patience import PATIENCE_S
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
        answer = await client.post("/v1/jobs", json=TRACK, headers={"prefer": "wait=60"})
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
            answer = await client.get(f"/v1/jobs/{job_id}", headers={"prefer": "wait=60"})
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


@pytest.mark.parametrize("is_named", [False, True])
async def test_results_that_were_out_of_reach_are_used_once_they_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_named: bool
) -> None:
    """The service starts without them, and says what is wrong and that it tries again."""
    monkeypatch.setattr(serve_app.jobs.runtime, "REOPEN_S", 0.05)
    folder = tmp_path / "results"
    folder.write_text("no folder")
    store = f"sqlite:///{tmp_path / 'jobs.db'}" if is_named else None
    config = JobsConfig(results=str(folder), store=store)
    async with served(runtime_of(config, XDG_DATA_HOME=str(tmp_path))) as client:
        answer = await client.post("/v1/jobs", json=TRACK)
        assert (answer.status_code, answer.json()["code"]) == (503, "results_unavailable")
        assert "A file of results cannot be made" in answer.json()["detail"]
        assert "tries again every" in answer.json()["detail"]
        assert (await client.get("/v1/jobs")).json()["code"] == "results_unavailable"
        assert (await client.post("/v1/audio/generations", json=TRACK)).status_code == 200
        folder.unlink()
        assert (await made(client))["status"] == "succeeded"


async def test_a_default_store_is_used_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_app.jobs.runtime, "REOPEN_S", 0.05)
    (tmp_path / "data").write_text("no folder")
    async with served(runtime_of(JobsConfig(), XDG_DATA_HOME=str(tmp_path / "data"))) as client:
        answer = await client.get("/v1/jobs")
        assert (answer.status_code, answer.json()["code"]) == (503, "job_store_unavailable")
        (tmp_path / "data").unlink()
        assert (await made(client))["status"] == "succeeded"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error"), OSError(errno.ENOSPC, "No space left on device")],
    ids=["failing", "full"],
)
async def test_a_disk_that_fails_at_the_start_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    monkeypatch.setattr(serve_app.jobs.runtime, "REOPEN_S", 0.05)
    opened = os.open
    errors = [error]

    def fail_once(path: Any, *options: Any, **more: Any) -> int:
        if errors and str(path).endswith("jobs.db"):
            raise errors.pop()
        return opened(path, *options, **more)

    monkeypatch.setattr("serve_app.jobs.sqlite_connection.os.open", fail_once)
    async with served(runtime_of(JobsConfig(store=f"sqlite:///{tmp_path}/jobs.db"))) as client:
        assert (await made(client))["status"] == "succeeded"
    assert errors == []


async def test_a_newer_schema_of_a_named_store_stops_the_start(tmp_path: Path) -> None:
    config = JobsConfig(store=f"sqlite:///{tmp_path}/jobs.db")
    async with served(runtime_of(config)):
        pass
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.execute("insert into migrations values (999, 'later', 0)")
        connection.commit()
    with pytest.raises(ConfigError, match="schema 999"):
        async with runtime_of(config).running():
            pass


async def made(client: httpx.AsyncClient) -> dict[str, Any]:
    """Make a track as a job, once jobs are accepted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.post("/v1/jobs", json=TRACK, headers={"prefer": "wait=60"})
            if answer.is_success:
                job: dict[str, Any] = answer.json()
                return job
            await asyncio.sleep(0.02)


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
            assert (await made(client))["status"] == "succeeded"
