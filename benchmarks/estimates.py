"""Measure the error of `remaining_s`, the estimated seconds until a track is finished.

python -m benchmarks.estimates [--idle 10]

The service runs configs/nano.yaml, which has four slots. Fifty requests: alone, alone after the
service was idle, and in groups of four and of ten, all of random durations. An estimate's error is
the factor by which it is too long or too short. The last line is JSON.
"""

import argparse
import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
from httpx_sse import aconnect_sse
from tqdm import tqdm

from benchmarks.callers import PATH
from benchmarks.report import print_result, print_table, summary
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port

CONFIG = Path("configs/nano.yaml")
SHORTEST_S = 4.0  # of tracks
LONGEST_S = 20.0
LEAST_LEFT_S = 0.25  # between two reports; the estimates of a shorter rest are not counted
SCENARIOS = {
    "alone": (12, 1),
    "alone, after idling": (8, 1),
    "4 at a time": (5, 4),
    "10 at a time": (1, 10),
}


@dataclass(frozen=True)
class Heard:
    """The estimates of one request: (time, seconds left or None), and the time of its end."""

    estimates: Sequence[tuple[float, float | None]]
    ended_at: float

    def errors(self) -> list[float]:
        """Factors between estimate and truth, at least 1, in the order of the events."""
        return [
            _factor(estimate, self.ended_at - at)
            for at, estimate in self.estimates
            if self.ended_at - at >= LEAST_LEFT_S
        ]


def _factor(estimate: float | None, truth: float) -> float:
    """Infinite for no estimate and for none of the time left."""
    if not estimate:
        return float("inf")
    return max(estimate / truth, truth / estimate)


def figures_of(heard: Sequence[Heard]) -> dict[str, float]:
    """Median and worst error of the first events, and of all."""
    errors = [request.errors() for request in heard]
    first = [each[0] for each in errors if each]
    every = [error for each in errors for error in each]
    return {
        "requests": len(heard),
        "events": len(every),
        "first, median": round(float(np.median(first)), 2),
        "first, worst": round(max(first), 2),
        "all, median": round(float(np.median(every)), 2),
        "all, worst": round(max(every), 2),
        "within a factor of 2, %": round(100 * float(np.mean([error <= 2 for error in every])), 1),
    }


async def listen(client: httpx.AsyncClient, duration_s: float) -> Heard:
    """Make a track and note its progress events."""
    body = {
        "prompt": "lofi beat",
        "duration_s": duration_s,
        "response_format": "pcm",
        "stream": True,
        "stream_format": "sse",
    }
    estimates: list[tuple[float, float | None]] = []
    async with aconnect_sse(client, "POST", PATH, json=body) as source:
        async for event in source.aiter_sse():
            if event.event == "progress":
                estimates.append((perf_counter(), json.loads(event.data)["remaining_s"]))
    return Heard(estimates, perf_counter())


async def measure(url: str, idle_s: float) -> dict[str, list[Heard]]:
    draw = random.Random(0)
    heard: dict[str, list[Heard]] = {}
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        await listen(client, SHORTEST_S)
        for name, (rounds, callers) in SCENARIOS.items():
            heard[name] = []
            for _ in tqdm(range(rounds), desc=name, leave=False):
                if "idling" in name:
                    await asyncio.sleep(idle_s)
                durations = [draw.uniform(SHORTEST_S, LONGEST_S) for _ in range(callers)]
                heard[name] += await asyncio.gather(*(listen(client, s) for s in durations))
    return heard


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimates", description=summary(__doc__)
    )
    parser.add_argument("--idle", type=float, default=10.0, help="seconds of rest (default: 10)")
    arguments = parser.parse_args()
    with Service(CONFIG, free_port(), ProgressLine()) as service:
        heard = asyncio.run(measure(service.url, arguments.idle))
    rows: dict[str, dict[str, Any]] = {name: figures_of(each) for name, each in heard.items()}
    rows["all"] = figures_of([request for each in heard.values() for request in each])
    print_table(rows)
    print_result("estimates", idle_s=arguments.idle, **{"errors": rows})


if __name__ == "__main__":
    main()
