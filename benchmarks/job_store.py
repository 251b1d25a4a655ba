"""Speed of the job store alone: jobs accepted, then claimed, heard of and ended."""

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from time import perf_counter
from typing import TypeVar

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import Claim, JobRequest, JobStatus, NewJob, Outcome, ResultFile
from serve_app.jobs.results import result_key
from serve_app.jobs.store import Progressed
from serve_app.jobs.stores import StoreAddress, store_at

MODEL = "nano"
LEASE_S = 60.0
ROOM = 4  # jobs that a worker claims at a time
WORKERS = 4

Row = dict[str, float]
T = TypeVar("T")


async def add_jobs(store: DatabaseStore, count: int, callers: int) -> list[float]:
    """Accept jobs from callers that wait for their answers; return the milliseconds of each."""
    spent: list[float] = []
    request = JobRequest(
        model=MODEL, prompt="lo-fi beat for rainy evenings", duration_s=1.0, seed=1
    )

    async def add() -> None:
        for number in range(count // callers):
            key = f"{id(asyncio.current_task())}-{number}"
            new = NewJob("key", request, kept_s=86_400.0, idempotency_key=key)
            started_at = perf_counter()
            await store.add(new, max_queued=10 * count)
            spent.append(1000 * (perf_counter() - started_at))

    await asyncio.gather(*(add() for _ in range(callers)))
    return spent


async def work(store: DatabaseStore) -> int:
    """Claim, hear of and end jobs, each in its own transaction, until the queue is empty."""
    done = 0
    while claims := await store.claim({MODEL: ROOM}, LEASE_S):
        for claim in claims:
            await store.heartbeat(claim, Progressed(0.5, 0.5), LEASE_S)
            ended = await store.finish(claim, outcome_of(claim))
            done += ended is not None
    return done


def outcome_of(claim: Claim) -> Outcome:
    key = result_key(claim.job.id, claim.job.attempt, 0, "wav")
    file = ResultFile(
        key=key,
        media_type="audio/wav",
        size_bytes=64_044,
        sha256="0" * 64,
        duration_s=1.0,
        report={},
    )
    return Outcome(JobStatus.SUCCEEDED, (file,))


async def measure(address: str, count: int, callers: int) -> Row:
    """Measure the store at an address. Raises RuntimeError if a job was lost or done twice."""
    store = store_at(StoreAddress(address, named=True))
    await store.open()
    spent, adding_s = await timed(lambda: add_jobs(store, count, callers))
    done, working_s = await timed(lambda: asyncio.gather(*(work(store) for _ in range(WORKERS))))
    await store.close()
    if sum(done) != len(spent):
        raise RuntimeError(f"{len(spent)} jobs were accepted, and {sum(done)} ended")
    return {
        "added/s": round(len(spent) / adding_s),
        "add p50 ms": round(median(spent), 1),
        "add p95 ms": round(quantiles(spent, n=20)[-1], 1),
        "ended/s": round(sum(done) / working_s),
    }


async def timed(action: Callable[[], Awaitable[T]]) -> tuple[T, float]:
    started_at = perf_counter()
    return await action(), perf_counter() - started_at
