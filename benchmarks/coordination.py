"""Shared limits: what a request pays for one set of limits over several ingress replicas.

python -m benchmarks.coordination [--requests 2000] [--waiting 10000] [--backend local actor redis]

A request takes its key's places and seconds and enters the model's line, then leaves it and ends, far
from all limits; two further ingress replicas do the same meanwhile. `contended`: the time until
a decision near a limit, for which the coordinator is asked. `place`: a place in a line of --waiting
requests, in this process. `exchange`: a report of a request that comes, one that goes, and the place
of one, to a coordinator whose line is so long; `all places`: a report that asks for all of them;
`joins`, `ends`: an ingress replica that brings so many, as after the coordinator's death, and takes them away.
`redis` starts Debian's redis-server. The last line is JSON.
"""

import argparse
import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Callable, Iterator
from statistics import median, quantiles
from time import perf_counter

import ray

from benchmarks.report import print_result, print_table, summary
from serve_app.config.api import AccessConfig
from serve_app.config.deployment import DeploymentConfig
from serve_app.deployments.ledger_actor import ActorCoordinator
from serve_app.errors import RateLimited
from serve_app.gateway.limits import Limits
from serve_app.gateway.permits.coordinator import Coordinator
from serve_app.gateway.permits.messages import LineReport, Report
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.permits.redis_coordinator import RedisCoordinator
from serve_app.gateway.waiting_line import WaitingLine
from tools.redis import redis_server

FAR = AccessConfig(max_concurrent_requests=1000, max_audio_s_per_minute=10_000_000)
NEAR = AccessConfig(max_concurrent_requests=2)
EXCHANGES = 500
LINE_COLUMNS = ("exchange ms", "all places ms", "joins ms", "ends ms")
Connect = Callable[[], Coordinator | None]


@contextlib.contextmanager
def connecting(backend: str) -> Iterator[Connect]:
    """Start what a backend needs; yield the function that connects an ingress replica."""
    if backend == "redis":
        with redis_server() as url:
            yield lambda: RedisCoordinator(url, "benchmark")
    elif backend == "actor":
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            yield lambda: ActorCoordinator("benchmark", DeploymentConfig())
        finally:
            ray.shutdown()
    else:
        yield lambda: None


async def request(limits: Limits, line: WaitingLine) -> float:
    """Run one request through limits and line; return the milliseconds that these took."""
    started = perf_counter()
    await limits.take("web", 8.0)
    ticket = await line.enter(8.0)
    taken_s = perf_counter() - started
    await asyncio.sleep(0)
    started = perf_counter()
    line.leave(ticket)
    limits.give_back("web", 0.0)
    return 1000 * (taken_s + perf_counter() - started)


async def neighbour(permits: Permits) -> None:
    """Load the coordinator as another ingress replica with a request every 5 ms does."""
    limits = Limits(FAR, permits)
    line = WaitingLine("small", 1e6, permits)
    while True:
        await request(limits, line)
        await asyncio.sleep(0.005)


async def contended(limits: Limits) -> float:
    """Return the milliseconds of one decision near a key's limit."""
    started = perf_counter()
    try:
        await limits.take("few", 0.0)
    except RateLimited:
        return 1000 * (perf_counter() - started)
    took_s = perf_counter() - started
    limits.give_back("few", 0.0)
    return 1000 * took_s


async def place_us(permits: Permits, waiting: int) -> float:
    """Return the microseconds of entering a line of `waiting` requests, asking the place, leaving."""
    for _ in range(waiting):
        permits.enter("large", 8000)
    started = perf_counter()
    for _ in range(1000):
        ticket = permits.enter("large", 8000)
        permits.place("large", ticket)
        permits.leave("large", ticket)
    return 1000 * (perf_counter() - started)


async def long_line(coordinator: Coordinator, waiting: int) -> dict[str, float]:
    """Time the reports of one session, whose requests are the whole line, in milliseconds."""
    numbers = itertools.count(1)

    async def report(
        *events: tuple[int, int], asked: tuple[int, ...] = (), leaves: bool = False
    ) -> float:
        number = next(numbers)
        lines = (LineReport("large", events, asked, 0.0),)
        started = perf_counter()
        reply = await coordinator.exchange(
            Report("many", number, number == 1, False, leaves, (), lines)
        )
        took_ms = 1000 * (perf_counter() - started)
        assert leaves or [len(line.places) for line in reply.lines] == [len(asked)]
        return took_ms

    tickets = range(1, waiting + 1)
    joins = await report(*((ticket, 8000) for ticket in tickets))
    one = [
        await report((waiting + turn, 8000), (turn, 0), asked=(waiting + turn,))
        for turn in range(1, EXCHANGES + 1)
    ]
    still = tuple(ticket + EXCHANGES for ticket in tickets)
    all_places = await report(asked=still)
    ends = await report(leaves=True)
    return dict(zip(LINE_COLUMNS, (median(one), all_places, joins, ends), strict=True))


@contextlib.asynccontextmanager
async def ingresses(connect: Connect, count: int) -> AsyncIterator[list[Permits]]:
    """Run the permits of several ingress replicas."""
    replicas = [Permits(connect()) for _ in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        for permits in replicas:
            await stack.enter_async_context(permits.running())
        yield replicas


async def measure(connect: Connect, requests: int, waiting: int) -> dict[str, float]:
    """Measure one backend."""
    async with ingresses(connect, 3) as (permits, *others):
        tasks = [asyncio.create_task(neighbour(other)) for other in others]
        limits = Limits(FAR, permits)
        line = WaitingLine("small", 1e6, permits)
        await request(limits, line)  # waits for an empty Redis, which grants nothing at first
        far = []
        for _ in range(requests):
            far.append(await request(limits, line))
            await asyncio.sleep(0.001)
        near = [await contended(Limits(NEAR, permits)) for _ in range(200)]
        for task in tasks:
            task.cancel()
        far_at = quantiles(far, n=100)
        near_at = quantiles(near, n=100)
        coordinator = connect()
        line_ms = dict.fromkeys(LINE_COLUMNS, math.nan)
        if coordinator is not None:
            line_ms = await long_line(coordinator, waiting)
            await coordinator.close()
        return {
            "p50 ms": round(far_at[49], 4),
            "p99 ms": round(far_at[98], 4),
            "contended p50 ms": round(near_at[49], 3),
            "contended p99 ms": round(near_at[98], 3),
            f"place in {waiting}, us": round(await place_us(permits, waiting), 1),
            **{name: round(took_ms, 2) for name, took_ms in line_ms.items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coordination", description=summary(__doc__)
    )
    parser.add_argument("--requests", type=int, default=2000, help="default: 2000")
    parser.add_argument("--waiting", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--backend", nargs="+", default=["local", "actor", "redis"])
    arguments = parser.parse_args()
    rows = {}
    for backend in arguments.backend:
        with connecting(backend) as connect:
            rows[backend] = asyncio.run(measure(connect, arguments.requests, arguments.waiting))
    print_table(rows)
    print_result("coordination", backends=rows)


if __name__ == "__main__":
    main()
