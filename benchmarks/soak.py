"""Callers of every kind for a while, the careless among them, and what the service still holds of them afterwards.

python -m benchmarks.soak [--minutes 10] [--config configs/nano.yaml]

Some wait for their music, some stream it, some leave halfway or at once, some send nonsense. Then every slot must be
free, and tasks, threads and open files as few as they were after a first quarter of the time, but for the few threads
that a pool starts at its busiest. The last line is JSON.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import numpy as np
import ray
from tqdm import tqdm

from benchmarks.report import print_result
from serve_app.launcher import ProgressLine, Service
from serve_app.machine import free_port

CALLERS, WARM_UP, SAMPLE_S, PATIENCE_S = 8, 0.25, 2.0, 60.0
PATH = "/v1/audio/generations"
FORMATS = ("wav", "flac", "mp3", "opus", "pcm")
NONSENSE: tuple[dict[str, Any], ...] = (
    {"content": b"{"},
    {"content": b"\x00" * 70_000, "headers": {"content-type": "application/json"}},
    {"json": {"prompt": ""}},
    {"json": {"prompt": "a", "duration_s": -1}},
    {"json": {"prompt": "a", "temperature": "hot"}},
    {"json": {"prompt": "a", "model": "none"}},
    {"json": {"prompt": "a", "audio_prompt": "bm8gbXVzaWM="}},
    {"json": {"prompt": "a"}, "headers": {"x-request-timeout-seconds": "soon"}},
    {
        "data": {"prompt": "a"},
        "files": {"audio_prompt": ("a.wav", b"RIFF\xff\xff\xff\xffWAVE" + bytes(5000))},
    },
)
LOOKS = ("/stats", "/v1/models", "/health", "/", "/openapi.json")
Holds = dict[str, dict[str, float]]  # by actor: threads, files, tasks, memory_mib
SLACK = {"threads": 8, "files": 8, "tasks": 0}  # what leaks with hundreds of calls is more


@dataclass(frozen=True)
class Report:
    """What came of it. calls: by kind; wrong: answers that should not be; held: before and after, by actor."""

    calls: Counter[str]
    wrong: Counter[str]
    held: tuple[Holds, Holds]
    memory_mib_per_minute: dict[str, float]

    @property
    def leaked(self) -> list[str]:
        before, after = self.held
        return [
            f"{kind} of {name}: {before[name][kind]:.0f}, then {after[name][kind]:.0f}"
            for name in before
            for kind, slack in SLACK.items()
            if after[name][kind] > before[name][kind] + slack
        ]


class Callers:
    """Each calls again and again, in one of the ways, until the time is up."""

    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self._client, self._random = client, random.Random(seed)
        self.calls, self.wrong = Counter[str](), Counter[str]()
        self._ways: tuple[Callable[[], Awaitable[None]], ...] = (
            self._wait, self._stream, self._leave_halfway, self._leave_at_once, self._talk_nonsense, self._look,
        )  # fmt: skip

    async def call_until(self, end: float) -> None:
        while monotonic() < end:
            way = self._random.choice(self._ways)
            try:
                await way()
            except httpx.HTTPError as error:
                self.wrong[f"{way.__name__}: {type(error).__name__}"] += 1
            self.calls[way.__name__.strip("_").replace("_", " ")] += 1

    def _body(self, **more: Any) -> dict[str, Any]:
        duration_s = round(self._random.uniform(0.2, 3.0), 2)
        return {
            "prompt": self._random.choice(["lofi beat", "calm pad", "bells"]),
            "duration_s": duration_s,
            **more,
        }

    def _expect(self, response: httpx.Response, *statuses: int) -> None:
        if response.status_code not in statuses:
            self.wrong[f"{response.request.url.path}: {response.status_code}"] += 1

    async def _wait(self) -> None:
        body = self._body(response_format=self._random.choice(FORMATS))
        self._expect(await self._client.post(PATH, json=body), 200)

    async def _stream(self) -> None:
        await self._receive(chunks=None)

    async def _leave_halfway(self) -> None:
        await self._receive(chunks=self._random.randint(0, 3))

    async def _receive(self, chunks: int | None) -> None:
        how = self._random.choice(
            [{"response_format": "mp3"}, {"response_format": "pcm"}, {"stream_format": "sse"}]
        )
        async with self._client.stream(
            "POST", PATH, json=self._body(stream=True, **how)
        ) as response:
            self._expect(response, 200)
            number = 0
            async for _ in response.aiter_bytes():
                number += 1
                if number == chunks:
                    return

    async def _leave_at_once(self) -> None:
        call = asyncio.create_task(self._client.post(PATH, json=self._body()))
        await asyncio.wait({call}, timeout=self._random.uniform(0, 0.3))
        call.cancel()
        await asyncio.wait({call})

    async def _talk_nonsense(self) -> None:
        response = await self._client.post(PATH, **self._random.choice(NONSENSE))
        self._expect(response, 400, 404, 413, 422)

    async def _look(self) -> None:
        self._expect(await self._client.get(self._random.choice(LOOKS)), 200)


async def soak(service: Service, minutes: float, seed: int = 0) -> Report:
    """Raises TimeoutError when a slot is still taken a minute after the last caller."""
    with _actors(service) as actors:
        seconds = 60 * minutes
        calls, wrong = Counter[str](), Counter[str]()
        holds, samples = list[Holds](), list[tuple[float, Holds]]()
        for part in (WARM_UP, 1 - WARM_UP):
            async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_S) as client:
                callers, end = Callers(client, seed + len(holds)), monotonic() + part * seconds
                crowd = asyncio.gather(*(callers.call_until(end) for _ in range(CALLERS)))
                total = round(part * seconds)
                with tqdm(total=total, unit="s", leave=False) as bar:
                    while not crowd.done():
                        await asyncio.wait({crowd}, timeout=SAMPLE_S)
                        samples.append((monotonic(), await _held(actors)))
                        bar.update(total - round(max(0.0, end - monotonic())) - bar.n)
                await crowd
                await _until_idle(client)
            calls, wrong = calls + callers.calls, wrong + callers.wrong
            holds.append(await _held(actors))
        return Report(
            calls, wrong, (holds[0], holds[1]), _slopes(samples[int(len(samples) * WARM_UP) :])
        )


async def _until_idle(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            models = (await client.get("/stats", headers={"connection": "close"})).json()["models"]
            if not any(
                s["slots_used"] or s["queued_requests"]
                for replicas in models.values()
                for s in replicas
            ):
                return


@contextmanager
def _actors(service: Service) -> Iterator[dict[str, Any]]:
    """The ingress's and the replicas' actors, by their deployments' names."""
    raylet = next(process for process in service.processes() if "raylet" in process.name())
    [address] = [
        part.partition("=")[2] for part in raylet.cmdline() if part.startswith("--gcs-address=")
    ]
    ray.init(address=address, namespace="serve", log_to_driver=False, configure_logging=False)
    try:
        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        replicas = [name for name in names if name.startswith("SERVE_REPLICA::")]
        yield {name.split("#")[1]: ray.get_actor(name) for name in replicas}
    finally:
        ray.shutdown()


async def _held(actors: dict[str, Any]) -> Holds:
    def count(_: Any) -> dict[str, float]:  # a function within one travels by value
        import asyncio
        import gc

        import psutil

        process = psutil.Process()
        gc.collect()
        tasks = [o for o in gc.get_objects() if isinstance(o, asyncio.Task) and not o.done()]
        return {
            "threads": process.num_threads(), "files": process.num_fds(), "tasks": len(tasks),
            "memory_mib": process.memory_info().rss / 2**20,
        }  # fmt: skip

    answers = await asyncio.gather(*(actor.__ray_call__.remote(count) for actor in actors.values()))
    return dict(zip(actors, answers, strict=True))


def _slopes(samples: list[tuple[float, Holds]]) -> dict[str, float]:
    """MiB a minute, by actor."""
    times = [at / 60 for at, _ in samples]
    return {
        name: round(
            float(np.polyfit(times, [holds[name]["memory_mib"] for _, holds in samples], 1)[0]), 2
        )
        for name in samples[0][1]
    }


def show(report: Report) -> None:
    print("calls:", ", ".join(f"{count} {kind}" for kind, count in sorted(report.calls.items())))
    print("wrong answers:", dict(report.wrong) or "none")
    print("\n| | threads | files | tasks | MiB | MiB a minute |\n|---|---|---|---|---|---|")
    for name, slope in report.memory_mib_per_minute.items():
        before, after = (holds[name] for holds in report.held)
        cells = [f"{before[kind]:.0f}, then {after[kind]:.0f}" for kind in (*SLACK, "memory_mib")]
        print(f"| {name} | {' | '.join(cells)} | {slope:g} |")
    print("\nleaked:", "; ".join(report.leaked) or "nothing")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--config", type=Path, default=Path("configs/nano.yaml"), help="what is served"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what the callers do")
    arguments = parser.parse_args()
    with Service(arguments.config, free_port(), ProgressLine()) as service:
        report = asyncio.run(soak(service, arguments.minutes, arguments.seed))
    show(report)
    figures = {
        "calls": sum(report.calls.values()),
        "wrong": dict(report.wrong),
        "leaked": report.leaked,
    }
    slopes = {"memory_mib_per_minute": report.memory_mib_per_minute}
    print_result("soak", minutes=arguments.minutes, **figures, **slopes)
    return int(bool(report.wrong or report.leaked))


if __name__ == "__main__":
    sys.exit(main())
