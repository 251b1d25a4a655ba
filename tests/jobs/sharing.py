"""A process that works on a store of jobs: `python -m tests.jobs.sharing URL work|hold|add COUNT`.

work: claims and ends jobs until none is left, and prints their ids; hold: claims one job, prints
its id and waits to be killed; add: adds jobs, of which every other repeats a key of all processes.
"""

import asyncio
import sys

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.store import Progressed
from serve_app.jobs.stores import StoreAddress, store_at
from tests.jobs.stores import LEASE_S, new_job, success

ROOM = {"nano": 2}


async def work(store: DatabaseStore, _count: int) -> None:
    while claims := await store.claim(ROOM, LEASE_S):
        for claim in claims:
            assert await store.heartbeat(claim, Progressed(0.5, 0.5), LEASE_S) is False
            assert await store.finish(claim, success(claim)) is not None
            print(claim.job.id, flush=True)


async def hold(store: DatabaseStore, _count: int) -> None:
    [claim] = await store.claim({"nano": 1}, LEASE_S)
    print(claim.job.id, flush=True)
    await asyncio.Event().wait()


async def add(store: DatabaseStore, count: int) -> None:
    for number in range(count):
        await store.add(new_job(), 100_000)
        job, _ = await store.add(new_job(idempotency_key=f"key {number}"), 100_000)
        print(job.id, flush=True)


async def main(url: str, task: str, count: str = "0") -> None:
    store = store_at(StoreAddress(url, named=True))
    await store.open()
    await {"work": work, "hold": hold, "add": add}[task](store, int(count))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
