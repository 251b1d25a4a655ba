"""Workers that end, hang or exceed their bounds cost their own job alone."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve_app.audio import worker_pool
from serve_app.audio.worker_pool import WorkerPool
from serve_app.errors import InvalidAudio
from tests.audio.files import case, file_of

READ = {
    "task": "read",
    "max_duration_s": 30.0,
    "sample_rate": 32_000,
    "cut": False,
    "max_cpu_s": 30.0,
}
PATIENCE_S = 60.0
LONG = READ | {"max_duration_s": 600.0}


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition. Raises TimeoutError after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError


async def begun(pool: WorkerPool, pid: int) -> "asyncio.Task[Any]":
    """Give a job to the only process, which stands still and cannot end it."""
    os.kill(pid, signal.SIGSTOP)
    job = asyncio.create_task(pool.run(LONG | {"max_cpu_s": 60.0}, case("long_silence.flac")))
    await asyncio.to_thread(until, lambda: pool.pids() == [])
    return job


async def test_a_process_is_used_again() -> None:
    pool = WorkerPool(1)
    for _ in range(2):
        answer, samples = await pool.run(READ, file_of("wav"))
        assert (answer["channels"], len(samples)) == (1, 4 * 64_000)
    with pytest.raises(InvalidAudio, match="not finite"):
        await pool.run(READ, case("nan.wav"))
    assert len(pool.pids()) == 1
    [pid] = pool.pids()
    await pool.run(READ, file_of("wav"))
    assert pool.pids() == [pid]


async def test_no_more_processes_than_the_size_run() -> None:
    pool = WorkerPool(2)
    await asyncio.gather(*(pool.run(READ, file_of("wav")) for _ in range(6)))
    assert len(set(pool.pids())) == len(pool.pids()) <= 2


async def test_a_process_that_ended_is_replaced() -> None:
    pool = WorkerPool(1)
    await pool.run(READ, file_of("wav"))
    [pid] = pool.pids()
    os.kill(pid, signal.SIGKILL)
    psutil.Process(pid).wait(timeout=PATIENCE_S)
    answer, _ = await pool.run(READ, file_of("wav"))
    assert answer["sample_rate"] == 32_000
    assert pool.pids() != [pid]


async def test_a_file_that_crashes_its_process_is_refused() -> None:
    pool = WorkerPool(1)
    await pool.run(READ, file_of("wav"))
    [pid] = pool.pids()
    job = await begun(pool, pid)
    os.kill(pid, signal.SIGSEGV)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(InvalidAudio, match="cannot be decoded: it is damaged, or takes too much"):
        await job
    answer, _ = await pool.run(READ, file_of("wav"))
    assert answer["sample_rate"] == 32_000


async def test_a_file_that_hangs_its_process_is_refused() -> None:
    pool = WorkerPool(1)
    with pytest.raises(InvalidAudio, match="takes too much memory or time"):
        await pool.run(LONG | {"max_cpu_s": 0.0}, case("long_silence.flac"))
    assert pool.pids() == []


async def test_cpu_time_is_bounded_by_the_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker_pool, "_WAIT_FACTOR", 3600)
    pool = WorkerPool(1)
    encoding = {"file_format": "mp3", "sample_rate": None, "sample_format": "int16"}
    mastering = {"normalization": "none", "lufs": -14.0, "fade_in_s": 0.0, "fade_out_s": 0.0}
    job = LONG | {"task": "convert", "max_cpu_s": 0.5, "path": str(tmp_path / "a")}
    job |= {"encoding": encoding | {"bitrate_kbps": None}, "mastering": mastering}
    with pytest.raises(InvalidAudio, match="takes too much memory or time"):
        await pool.run(job, case("long_silence.flac"))


async def test_a_cancelled_job_ends_its_process() -> None:
    pool = WorkerPool(1)
    await pool.run(READ, file_of("wav"))
    [process] = [psutil.Process(pid) for pid in pool.pids()]
    job = await begun(pool, process.pid)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await asyncio.to_thread(process.wait, PATIENCE_S)
    answer, _ = await pool.run(READ, file_of("wav"))
    assert answer["channels"] == 1


async def test_processes_yield_and_know_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:secret")
    pool = WorkerPool(1, niceness=19)
    await pool.run(READ, file_of("wav"))
    [process] = [psutil.Process(pid) for pid in pool.pids()]
    assert process.nice() == 19
    assert not {"MUSICGEN_API_KEYS", "RAY_AUTH_TOKEN"} & process.environ().keys()


async def test_processes_end_with_the_pool() -> None:
    pool = WorkerPool(1)
    await pool.run(READ, file_of("wav"))
    [process] = [psutil.Process(pid) for pid in pool.pids()]
    del pool
    await asyncio.to_thread(process.wait, PATIENCE_S)


def test_the_package_is_found_from_anywhere() -> None:
    assert (worker_pool._ROOT / "serve_app" / "audio" / "worker.py").is_file()
