"""What HTTP and Ray add to the engine, what callers see when they are many, and when they are too many.

python -m benchmarks.service [--requests 40] [--overload 200]

It serves configs/nano.yaml with room for 20 waiting pieces, beside the same engine in this process: pieces of a second
by the one and the other in turn, then 1, 4 and 16 callers at a time, then a crowd at once. The last line is JSON.
"""

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import torch
import yaml
from tqdm import tqdm

from benchmarks.report import print_result
from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.config import AppConfig
from serve_app.engine.engine import Engine
from serve_app.launcher import ProgressLine, Service
from serve_app.machine import free_port
from serve_app.types import GenerationRequest

CONFIG, PATH = Path("configs/nano.yaml"), "/v1/audio/generations"
SECONDS, STREAMED_S, ROOM, CALLERS = 1.0, 10.0, 20, (1, 4, 16)


def crowded_config(folder: Path) -> tuple[Path, AppConfig]:
    content = yaml.safe_load(CONFIG.read_text())
    args = content["applications"][0]["args"]
    args["models"][0]["max_queued_audio_s"] = ROOM * SECONDS
    (folder / "crowded.yaml").write_text(yaml.safe_dump(content))
    return folder / "crowded.yaml", AppConfig.model_validate(args)


async def by_engine(engine: Engine, duration_s: float) -> float:
    """Seconds until a piece is whole."""
    started_at = perf_counter()
    request = GenerationRequest(
        request_id="a", model="nano", prompt="lofi beat", duration_s=duration_s
    )
    async for _ in engine.generate(request):
        pass
    return perf_counter() - started_at


class Caller:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def whole(self, duration_s: float) -> float:
        """Seconds until a piece is whole."""
        started_at = perf_counter()
        (await self._client.post(PATH, json=_body(duration_s))).raise_for_status()
        return perf_counter() - started_at

    async def streamed(self, duration_s: float) -> tuple[float, float]:
        """Seconds until its first audio, and until it is whole."""
        started_at, first_s = perf_counter(), 0.0
        async with self._client.stream(
            "POST", PATH, json=_body(duration_s, stream=True)
        ) as response:
            response.raise_for_status()
            async for _ in response.aiter_bytes():
                first_s = first_s or perf_counter() - started_at
        return first_s, perf_counter() - started_at


class Crowd:
    """Callers, already connected, who all ask at once: bytes alone, for a client's own work would be measured, too."""

    def __init__(self, url: str, callers: int) -> None:
        self._address, self._callers = urlsplit(url), callers

    async def ask(self, path: str) -> list[tuple[int, float, bool]]:
        """Each one's status, seconds until it came, and whether it says when to come back."""
        host, port = str(self._address.hostname), self._address.port
        body = json.dumps(_body(SECONDS)).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
        connections = [await asyncio.open_connection(host, port) for _ in range(self._callers)]
        return await asyncio.gather(
            *(self._ask(*connection, request) for connection in connections)
        )

    @staticmethod
    async def _ask(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, float, bool]:
        started_at = perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        seconds = perf_counter() - started_at
        await reader.read()
        writer.close()
        return int(head.split()[1]), seconds, b"\r\nretry-after:" in head.lower()


def _body(duration_s: float, **more: Any) -> dict[str, Any]:
    return {"prompt": "lofi beat", "duration_s": duration_s, "response_format": "pcm", **more}


async def overhead(engine: Engine, caller: Caller, requests: int) -> dict[str, float]:
    """Milliseconds that a request and a streamed second take longer than by the engine alone, in turn: ABAB."""
    alone, served, alone_streamed, served_streamed = [], [], [], []
    for number in tqdm(range(requests), desc="one caller", leave=False):
        alone.append(await by_engine(engine, SECONDS))
        served.append(await caller.whole(SECONDS))
        if number % 8 == 0:
            alone_streamed.append(await by_engine(engine, STREAMED_S))
            served_streamed.append((await caller.streamed(STREAMED_S))[1])
    streamed_s = float(np.median(served_streamed) - np.median(alone_streamed))
    return {
        "engine_p50_ms": _ms(np.median(alone)),
        "http_p50_ms": _ms(np.median(served)),
        "overhead_p50_ms": _ms(np.median(served) - np.median(alone)),
        "overhead_ms_per_streamed_s": _ms(streamed_s / STREAMED_S),
    }


async def latencies(caller: Caller, callers: int, requests: int) -> dict[str, float]:
    """Percentiles of the whole piece and of its first audio, with so many callers at a time."""
    times: list[tuple[float, float]] = []

    async def call_again_and_again() -> None:
        for _ in range(max(1, requests // callers)):
            times.append(await caller.streamed(SECONDS))

    await asyncio.gather(*(call_again_and_again() for _ in range(callers)))
    first, whole = zip(*times, strict=True)
    return {"callers": callers} | _percentiles("first_audio", first) | _percentiles("whole", whole)


async def overload(
    caller: Caller, memory_mib: Callable[[], float], url: str, callers: int
) -> dict[str, Any]:
    """A crowd at once: who is served, who is sent away, and how soon, beside what Serve itself takes for as many whose
    path leads nowhere."""
    crowd = Crowd(url, callers)
    nowhere = [seconds for _, seconds, _ in await crowd.ask("/nowhere")]
    before = memory_mib()
    answers = await crowd.ask(PATH)
    refused = [seconds for status, seconds, _ in answers if status != 200]
    return {
        "callers": callers,
        "unknown_path_p50_ms": _ms(np.median(nowhere)),
        "statuses": dict(Counter(status for status, _, _ in answers)),
        "refusals_with_retry_after": sum(told for status, _, told in answers if status != 200),
        "refused_p50_ms": _ms(np.median(refused)) if refused else None,
        "memory_mib": [round(before), round(memory_mib())],
        "next_request_s": round(await caller.whole(SECONDS), 3),
    }


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    return {f"{name}_p{p}_ms": _ms(np.percentile(seconds, p)) for p in (50, 95, 99)}


def _ms(seconds: float) -> float:
    return round(float(seconds) * 1000, 1)


async def measure(service: Service, engine: Engine, requests: int, crowd: int) -> dict[str, Any]:
    def memory_mib() -> float:
        ours = [p for p in service.processes() if p.name().startswith("ray::ServeReplica")]
        return float(sum(process.memory_info().rss for process in ours) / 2**20)

    async with _client(service.url) as client:
        caller = Caller(client)
        await caller.whole(SECONDS)
        figures: dict[str, Any] = {"overhead": await overhead(engine, caller, requests)}
        figures["latency"] = [await latencies(caller, callers, requests) for callers in CALLERS]
        figures["overload"] = await overload(caller, memory_mib, service.url, crowd)
        return figures


def _client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=None))


def show(figures: dict[str, Any]) -> None:
    for name in ("overhead", "overload"):
        print(f"\n| {name} | |\n|---|---|")
        for key, value in figures[name].items():
            print(f"| {key.replace('_', ' ')} | {value} |")
    print(f"\n| {' | '.join(figures['latency'][0])} |\n{'|---' * len(figures['latency'][0])}|")
    for row in figures["latency"]:
        print(f"| {' | '.join(map(str, row.values()))} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--requests", type=int, default=40, help="of one second, by each number of callers"
    )
    parser.add_argument(
        "--overload", type=int, default=200, help="how many call at once in the end"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file, config = crowded_config(Path(folder))
        [model] = config.models
        engine = Engine(
            load_checkpoint(model.model_loading_config.model_source), model.engine_kwargs
        )
        engine.warm_up()
        with Service(file, free_port(), ProgressLine()) as service:
            figures = asyncio.run(measure(service, engine, arguments.requests, arguments.overload))
        engine.shutdown()
    show(figures)
    print_result("service", **figures)


if __name__ == "__main__":
    main()
