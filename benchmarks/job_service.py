"""Measure jobs through the service: acceptance, losses, memory, and interactive requests beside them.

python -m benchmarks.job_service [--jobs 5000] [--store postgresql://...]

The service runs configs/nano.yaml with a job store of its own: an SQLite file in a temporary folder
without `--store`. First one caller asks for tracks of one second, one after the other. Then all jobs
are submitted, each for one second of music, by a few callers at once; the first caller goes on until
the last job has ended. The last line is JSON.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import psutil
import yaml

from benchmarks.report import print_result, summary
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port

CONFIG = Path("configs/nano.yaml")
GENERATIONS = "/v1/audio/generations"
JOBS = "/v1/jobs"
SECONDS = 1.0  # of each track
CALLERS = 4  # that submit at once
ALONE = 100  # tracks of the interactive caller before the jobs
PAUSE_S = 0.2  # between two of its tracks
PAGE = 100


def config_in(folder: Path, store: str | None) -> Path:
    """Write CONFIG with a job store of its own."""
    content = yaml.safe_load(CONFIG.read_text())
    args = content["applications"][0]["args"]
    args["jobs"] = {
        "store": store or f"sqlite:///{folder / 'jobs.db'}",
        "results": str(folder / "results"),
    }
    file = folder / "jobs.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


async def generate(client: httpx.AsyncClient, seed: int) -> float:
    """Seconds that one interactive track takes."""
    body = {"prompt": "beat", "duration_s": SECONDS, "seed": seed}
    began = perf_counter()
    (await client.post(GENERATIONS, json=body)).raise_for_status()
    return perf_counter() - began


async def generate_until(client: httpx.AsyncClient, stop: asyncio.Event) -> list[float]:
    """Ask for tracks, one after the other, until `stop` is set."""
    took: list[float] = []
    while not stop.is_set():
        took.append(await generate(client, len(took)))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE_S)
    return took


async def submit(client: httpx.AsyncClient, seeds: "asyncio.Queue[int]") -> list[tuple[float, str]]:
    """Submit a job for each seed that is left; return the seconds that each took, and its id."""
    accepted: list[tuple[float, str]] = []
    while not seeds.empty():
        body = {"prompt": "beat", "duration_s": SECONDS, "seed": seeds.get_nowait()}
        began = perf_counter()
        answer = await client.post(JOBS, json=body)
        took_s = perf_counter() - began
        accepted.append((took_s, str(answer.raise_for_status().json()["id"])))
    return accepted


async def listed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All jobs of the store."""
    jobs: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": PAGE}
    while True:
        page = (await client.get(JOBS, params=query)).raise_for_status().json()
        jobs += page["data"]
        if not page.get("next_cursor"):
            return jobs
        query["cursor"] = page["next_cursor"]


async def unfinished(client: httpx.AsyncClient) -> bool:
    for status in ("queued", "running"):
        answer = await client.get(JOBS, params={"status": status, "limit": 1})
        if answer.raise_for_status().json()["data"]:
            return True
    return False


async def watch(client: httpx.AsyncClient, ingress: psutil.Process) -> list[float]:
    """Sample the ingress's memory in MiB each second until all jobs have ended."""
    samples: list[float] = []
    while await unfinished(client):
        samples.append(ingress.memory_info().rss / 2**20)
        await asyncio.sleep(1.0)
    return samples


async def measure(service: Service, count: int) -> dict[str, Any]:
    [ingress] = [one for one in service.processes() if "Ingress" in one.name()]
    async with httpx.AsyncClient(base_url=service.url, timeout=120.0) as client:
        alone = [await generate(client, seed) for seed in range(ALONE)]
        before_mib = ingress.memory_info().rss / 2**20
        seeds: asyncio.Queue[int] = asyncio.Queue()
        for seed in range(count):
            seeds.put_nowait(seed)
        began = perf_counter()
        callers = [submit(client, seeds) for _ in range(CALLERS)]
        accepted = [one for part in await asyncio.gather(*callers) for one in part]
        submitted_s = perf_counter() - began
        stop = asyncio.Event()
        beside = asyncio.create_task(generate_until(client, stop))
        memory = await watch(client, ingress)
        took_s = perf_counter() - began
        stop.set()
        interactive = await beside
        jobs = await listed(client)
    ids = Counter(job["id"] for job in jobs)
    return {
        "jobs": count,
        "submit_p95_ms": 1000 * p95([seconds for seconds, _ in accepted]),
        "submitted_in_s": submitted_s,
        "ended_in_s": took_s,
        "succeeded": sum(job["status"] == "succeeded" for job in jobs),
        "lost": len({job_id for _, job_id in accepted} - ids.keys()),
        "doubled": sum(number > 1 for number in ids.values())
        + sum(job["attempt"] != 1 for job in jobs),
        "memory_mib": {"before": before_mib, "middle": middle(memory), "end": memory[-1]},
        "interactive_p95_ms": {"alone": 1000 * p95(alone), "beside_jobs": 1000 * p95(interactive)},
        "interactive_tracks": len(interactive),
    }


def middle(values: list[float]) -> float:
    return values[len(values) // 2]


def p95(values: list[float]) -> float:
    return float(np.percentile(values, 95))


def main() -> None:
    parser = argparse.ArgumentParser(description=summary(__doc__))
    parser.add_argument("--jobs", type=int, default=5000, help="number of jobs (default: 5000)")
    parser.add_argument("--store", help="postgresql://...; default: an SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="musicgen-jobs-") as folder:
        config = config_in(Path(folder), options.store)
        with Service(config, free_port(), ProgressLine()) as service:
            figures = asyncio.run(measure(service, options.jobs))
    print_result("job_service", store=(options.store or "sqlite").partition(":")[0], **figures)


if __name__ == "__main__":
    main()
