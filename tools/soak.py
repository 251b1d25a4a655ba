"""Soak test: run careless callers against a service and compare its resources before and after."""

import asyncio
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx
from scipy.stats import theilslopes
from tqdm import tqdm

from serve_app.launcher import Service
from tools.callers import Callers

CALLERS = 8
WARM_UP = 0.25  # share of the time before the first count of resources
SAMPLE_S = 2.0  # between two samples of the memory
MOST_SAMPLES = 1000  # that are compared, each with each
LONG_MINUTES = 10.0  # from which the slope of the memory counts: at first caches and heaps fill
MOST_MIB_PER_MINUTE = 0.5  # growth of an ingress replica
PATIENCE_S = 180.0
SETTLE_S = 30.0  # for which what is about to end may still be counted
Resources = dict[str, dict[str, float]]  # by replica: threads, files, tasks, memory_mib
# Allowed growth, for example of thread pools at their first peak of load. Hundreds of calls make a
# leak larger.
SLACK = {"threads": 8, "files": 8, "tasks": 0}


@dataclass(frozen=True)
class Report:
    """Result of a soak test of some minutes. calls, wrong: as in `Callers`; resources: before and after."""

    minutes: float
    calls: Counter[str]
    wrong: Counter[str]
    resources: tuple[Resources, Resources]
    memory_mib_per_minute: dict[str, float]

    @property
    def leaked(self) -> list[str]:
        """Resources that grew by more than SLACK, as text."""
        return _grown(*self.resources)

    @property
    def growing(self) -> list[str]:
        """Ingress replicas whose memory grew too fast in a long test, as text."""
        if self.minutes < LONG_MINUTES:
            return []
        return [
            f"memory of {name}: {slope:g} MiB a minute"
            for name, slope in self.memory_mib_per_minute.items()
            if name.startswith("Ingress ") and not slope <= MOST_MIB_PER_MINUTE
        ]

    @property
    def has_failed(self) -> bool:
        return bool(self.wrong or self.leaked or self.growing)


def _grown(before: Resources, after: Resources) -> list[str]:
    return [
        f"{kind} of {name}: {before[name][kind]:.0f}, then {after[name][kind]:.0f}"
        for name in before
        for kind, slack in SLACK.items()
        if after[name][kind] > before[name][kind] + slack
    ]


async def soak(service: Service, minutes: float, seed: int = 0) -> Report:
    """Run CALLERS callers for `minutes`, and kill a replica under their load in the first quarter.

    Raises TimeoutError if a slot is still taken PATIENCE_S after the last call.
    """
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
        warm_up = Callers(client, seed)
        killing = asyncio.create_task(_kill_replica(service, 60 * minutes * WARM_UP / 2))
        await _run(warm_up, 60 * minutes * WARM_UP, {})
        await killing
        await _until_idle(client)
    with _actors(service) as actors:
        before = await _resources(actors)
        async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
            callers = Callers(client, seed + 1)
            samples = await _run(callers, 60 * minutes * (1 - WARM_UP), actors)
            await _until_idle(client)
        after = await _settled(actors, before)
    return Report(
        minutes,
        warm_up.calls + callers.calls,
        warm_up.wrong + callers.wrong,
        (before, after),
        memory_slopes(samples),
    )


async def _kill_replica(service: Service, after_s: float) -> None:
    """Kill a replica after a while, as the kernel does without memory; Serve replaces it."""
    await asyncio.sleep(after_s)
    replica = next(p for p in service.processes() if "ServeReplica:musicgen:MusicGen" in p.name())
    replica.kill()


async def _run(
    callers: Callers, seconds: float, actors: dict[str, Any]
) -> list[tuple[float, Resources]]:
    """Run the callers for `seconds`; return resources sampled meanwhile, with the time."""
    samples = []
    end = monotonic() + seconds
    crowd = asyncio.gather(*(callers.call_until(end) for _ in range(CALLERS)))
    total = round(seconds)
    with tqdm(total=total, unit="s", leave=False) as bar:
        while not crowd.done():
            await asyncio.wait({crowd}, timeout=SAMPLE_S)
            samples.append((monotonic(), await _resources(actors)))
            bar.update(total - round(max(0.0, end - monotonic())) - bar.n)
    await crowd
    return samples


async def _until_idle(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # On a new connection each time, so that an open one keeps no task alive.
            stats = await client.get("/stats", headers={"connection": "close"})
            replicas = [one for model in stats.json()["models"].values() for one in model]
            if replicas and not any(
                one["slots_used"] or one["queued_requests"] for one in replicas
            ):
                return


@contextmanager
def _actors(service: Service) -> Iterator[dict[str, Any]]:
    """Connect to the service's Ray; yield the replicas of ingress and models by deployment and number."""
    os.environ |= service.ray_environment
    import ray

    raylet = next(process for process in service.processes() if "raylet" in process.name())
    prefix = "--gcs-address="
    [address] = [part.removeprefix(prefix) for part in raylet.cmdline() if part.startswith(prefix)]
    ray.init(address=address, namespace="serve", log_to_driver=False, configure_logging=False)
    try:
        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        replicas = sorted(name for name in names if name.startswith("SERVE_REPLICA::"))
        yield dict(zip(_numbered(replicas), map(ray.get_actor, replicas), strict=True))
    finally:
        ray.shutdown()


def _numbered(replicas: Iterable[str]) -> Iterator[str]:
    """Deployment and number of each replica: `Ingress 1`, `Ingress 2`."""
    counts = Counter[str]()
    for name in replicas:
        deployment = name.split("#")[1]
        counts[deployment] += 1
        yield f"{deployment} {counts[deployment]}"


async def _resources(actors: dict[str, Any]) -> Resources:
    """Count the resources of each actor, in its own process."""

    def count(_: Any) -> dict[str, float]:  # nested, so that Ray pickles it by value
        import asyncio
        import gc

        import psutil

        process = psutil.Process()
        gc.collect()
        tasks = [o for o in gc.get_objects() if isinstance(o, asyncio.Task) and not o.done()]
        return {
            "threads": process.num_threads(),
            "files": process.num_fds(),
            "tasks": len(tasks),
            "memory_mib": process.memory_info().rss / 2**20,
        }

    counts = await asyncio.gather(*(actor.__ray_call__.remote(count) for actor in actors.values()))
    return dict(zip(actors, counts, strict=True))


async def _settled(actors: dict[str, Any], before: Resources) -> Resources:
    """Count the resources, again while they have grown: a task may be about to end."""
    end = monotonic() + SETTLE_S
    while _grown(before, after := await _resources(actors)) and monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(1)
    return after


def memory_slopes(samples: list[tuple[float, Resources]]) -> dict[str, float]:
    """Growth of the memory by actor, in MiB per minute: the median slope between any two samples.

    One step, as of a cache that fills, or a peak of load does not change it much (Theil and Sen).
    """
    thinned = samples[:: math.ceil(len(samples) / MOST_SAMPLES)]
    minutes = [at / 60 for at, _ in thinned]
    return {
        name: round(
            float(theilslopes([r[name]["memory_mib"] for _, r in thinned], minutes).slope), 2
        )
        for name in samples[0][1]
    }


def show(report: Report) -> None:
    """Print the report as text and a Markdown table."""
    print("calls:", ", ".join(f"{count} {kind}" for kind, count in sorted(report.calls.items())))
    print("wrong answers:", dict(report.wrong) or "none")
    print("\n| | threads | files | tasks | MiB | MiB a minute |\n|---|---|---|---|---|---|")
    for name, slope in report.memory_mib_per_minute.items():
        before, after = (resources[name] for resources in report.resources)
        cells = [f"{before[kind]:.0f}, then {after[kind]:.0f}" for kind in (*SLACK, "memory_mib")]
        print(f"| {name} | {' | '.join(cells)} | {slope:g} |")
    print("\nleaked:", "; ".join(report.leaked) or "nothing")
    print("growing:", "; ".join(report.growing) or "nothing")
