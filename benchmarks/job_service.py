"""Jobs through the service: acceptance, losses, memory, and interactive tracks beside them.

The service runs configs/nano.yaml with a job store of its own. One caller asks for tracks of one
second, one after the other with a pause, alone; then jobs of one second each are submitted in one
go, and the caller goes on in the same way, in rounds with rests between, which are long enough for
jobs to fill the slots again, until the last job has ended; then alone again.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import yaml
from tqdm import tqdm

from benchmarks.process_memory import Memory
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port

CONFIG = Path("configs/nano.yaml")
GENERATIONS = "/v1/audio/generations"
JOBS = "/v1/jobs"
SECONDS = 1.0  # of each track
PAUSE_S = 0.2  # between two of its tracks
REST_S = 180.0  # jobs leave slots to interactive requests for 30 s after one
WARM_UP = 20  # jobs and tracks before anything is measured
PAGE = 100
POLL_S = 1.0

Row = dict[str, float]
Submitted = tuple[float, str]  # seconds, and the id of the job


def config_in(folder: Path, store: str) -> Path:
    """Write CONFIG with a job store of its own."""
    content = yaml.safe_load(CONFIG.read_text())
    results = str(folder.absolute() / "results")
    content["applications"][0]["args"]["jobs"] = {"store": store, "results": results}
    file = folder / "jobs.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@dataclass(frozen=True)
class Plan:
    """Extent of a measurement: jobs, those that are submitted at a time, and tracks of each round of
    the interactive caller, alone and beside the jobs."""

    jobs: int
    callers: int
    tracks: int


class Interactive:
    """A caller that asks for tracks, one after the other with a pause."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, count: int) -> list[float]:
        """Seconds of each track."""
        took: list[float] = []
        for seed in range(count):
            body = {"prompt": "beat", "duration_s": SECONDS, "seed": seed}
            began = perf_counter()
            (await self._client.post(GENERATIONS, json=body)).raise_for_status()
            took.append(perf_counter() - began)
            await asyncio.sleep(PAUSE_S)
        return took

    @asynccontextmanager
    async def asking(self, tracks: int) -> AsyncIterator[list[float]]:
        """Ask in rounds of so many tracks meanwhile; yields a list that gets their seconds."""
        took: list[float] = []
        stop = asyncio.Event()
        task = asyncio.create_task(self._ask_until(stop, tracks, took))
        try:
            yield took
        finally:
            stop.set()
            await task

    async def _ask_until(self, stop: asyncio.Event, tracks: int, took: list[float]) -> None:
        while not stop.is_set():
            if took and len(took) % tracks == 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), REST_S)
            took += await self.ask(1)


class Jobs:
    """The caller of jobs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def submit(self, count: int, callers: int) -> list[Submitted]:
        """Submit jobs by callers that wait for their answers."""
        seeds = iter(range(count))
        parts = await asyncio.gather(*(self._submit(seeds) for _ in range(callers)))
        return [one for part in parts for one in part]

    async def _submit(self, seeds: Iterator[int]) -> list[Submitted]:
        accepted: list[Submitted] = []
        for seed in seeds:
            body = {"prompt": "beat", "duration_s": SECONDS, "seed": seed}
            began = perf_counter()
            answer = await self._client.post(JOBS, json=body)
            took_s = perf_counter() - began
            accepted.append((took_s, str(answer.raise_for_status().json()["id"])))
        return accepted

    async def wait(self, seen: Callable[[], object]) -> None:
        """Wait until all jobs have ended. seen: called at each look."""
        while await self._has("queued") or await self._has("running"):
            seen()
            await asyncio.sleep(POLL_S)

    async def _has(self, status: str) -> bool:
        answer = await self._client.get(JOBS, params={"status": status, "limit": 1})
        return bool(answer.raise_for_status().json()["data"])

    async def all(self) -> list[dict[str, Any]]:
        """List all jobs of the store."""
        jobs: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            page = (await self._client.get(JOBS, params=query)).raise_for_status().json()
            jobs += page["data"]
            if not page["next_cursor"]:
                return jobs
            query["cursor"] = page["next_cursor"]


def measure(store: str, folder: Path, plan: Plan) -> Row:
    """Measure the service with the job store at an address. folder: for its files."""
    with Service(config_in(folder, store), free_port(), ProgressLine()) as service:
        return asyncio.run(_measure(service, folder / "results", plan))


async def _measure(service: Service, results: Path, plan: Plan) -> Row:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=plan.callers + 2)
    async with httpx.AsyncClient(base_url=service.url, timeout=120.0, limits=limits) as client:
        interactive = Interactive(client)
        jobs = Jobs(client)
        memory = Memory(service)
        await _warm_up(interactive, jobs)
        warm = {job["id"] for job in await jobs.all()}
        alone = await interactive.ask(plan.tracks)
        memory.sample()
        began = perf_counter()
        async with interactive.asking(plan.tracks) as meanwhile:
            accepted = await jobs.submit(plan.jobs, plan.callers)
        submitted_s = perf_counter() - began
        speeds = _submission(accepted, submitted_s, meanwhile)
        print(speeds, file=sys.stderr, flush=True)
        async with interactive.asking(plan.tracks) as beside:
            await _watch(jobs, memory)
        speeds["ended/s"] = round(plan.jobs / (perf_counter() - began), 2)
        memory.sample()
        alone += await interactive.ask(plan.tracks)
        ended = [job for job in await jobs.all() if job["id"] not in warm]
    missing = losses(accepted, ended, count_files(results, warm))
    return speeds | missing | memory.columns() | _interactive(alone, beside)


def count_files(results: Path, but: set[str]) -> int:
    """Count the files of results, but for those of some jobs: `<job>/<attempt>/<variation>.wav`."""
    return sum(file.parts[-3] not in but for file in results.rglob("*.wav"))


async def _warm_up(interactive: Interactive, jobs: Jobs) -> None:
    """Let caches, thread pools and the allocator reach their size."""
    await interactive.ask(WARM_UP)
    await jobs.submit(WARM_UP, WARM_UP)
    await jobs.wait(lambda: None)


async def _watch(jobs: Jobs, memory: Memory) -> None:
    """Sample the memory until all jobs have ended."""
    with tqdm(desc="jobs run", unit=" s", leave=False) as progress:

        def seen() -> None:
            memory.sample()
            progress.update()

        await jobs.wait(seen)


def losses(accepted: list[Submitted], jobs: list[dict[str, Any]], files: int) -> Row:
    """Count what must be zero, but for `succeeded`.

    files: of results; a job that was made twice, or has a second attempt, left a further one.
    """
    ids = Counter(job["id"] for job in jobs)
    seeds = Counter(job["request"]["seed"] for job in jobs)
    return {
        "succeeded": sum(job["status"] == "succeeded" for job in jobs),
        "lost": len({job_id for _, job_id in accepted} - ids.keys()),
        "doubled": sum(number > 1 for number in (*ids.values(), *seeds.values()))
        + sum(job["attempt"] != 1 for job in jobs)
        + max(0, files - len(accepted)),
    }


def _submission(accepted: list[Submitted], took_s: float, tracks: list[float]) -> Row:
    """Speeds of the submission. tracks: seconds of interactive tracks meanwhile."""
    seconds = [took for took, _ in accepted]
    return {
        "submit p50 ms": _ms(seconds, 50),
        "submit p95 ms": _ms(seconds, 95),
        "submitted/s": round(len(accepted) / took_s, 1),
        "track p95 ms meanwhile": _ms(tracks, 95),
    }


def _interactive(alone: list[float], beside: list[float]) -> Row:
    """Percentiles of interactive tracks, and how many times their p95 is that of a lone one."""
    return {
        "alone p50 ms": _ms(alone, 50),
        "alone p95 ms": _ms(alone, 95),
        "beside p50 ms": _ms(beside, 50),
        "beside p95 ms": _ms(beside, 95),
        "p95 ratio": round(_ms(beside, 95) / _ms(alone, 95), 2),
        "tracks beside": len(beside),
    }


def _ms(seconds: list[float], percentile: float) -> float:
    return round(1000 * float(np.percentile(seconds, percentile)), 1)
