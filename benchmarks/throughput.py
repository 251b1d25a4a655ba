"""Measure throughput on requests of mixed lengths: batched continuously, and one after another.

python -m benchmarks.throughput [--requests 4] [--precision int8] [--against audiocraft]

The model is the small one's true shape with random weights, from text to audio. AudioCraft decodes
a fixed batch as long as the longest request, and discards the excess of shorter ones. Its codec and
text encoder are not counted. The last line is JSON.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
import torch

from benchmarks.checkpoints import write_small
from benchmarks.decode import BYTES
from benchmarks.peers import SCALES, TEXT_SIZE, TEXT_TOKENS, audiocraft_model, audiocraft_run
from benchmarks.report import print_result, print_round, summary
from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.device import loading_dtype
from serve_app.engine.engine import Engine
from serve_app.models.musicgen.execution import prepare_model
from serve_app.types import GenerationRequest

FRAME_RATE = 50


async def track(engine: Engine, number: int, duration_s: float) -> None:
    """Generate one track."""
    prompt = f"music number {number}"
    request = GenerationRequest(
        request_id=str(number), model="small", prompt=prompt, duration_s=duration_s
    )
    async for _ in engine.generate(request):
        pass


async def together(engine: Engine, durations_s: list[float]) -> None:
    await asyncio.gather(
        *(track(engine, number, duration_s) for number, duration_s in enumerate(durations_s))
    )


async def one_after_another(engine: Engine, durations_s: list[float]) -> None:
    for number, duration_s in enumerate(durations_s):
        await track(engine, number, duration_s)


def timed(work: Callable[[], Awaitable[None]]) -> float:
    """Seconds that `work` takes."""

    async def run() -> None:
        await work()

    started_at = perf_counter()
    asyncio.run(run())
    return perf_counter() - started_at


def build_engine(precision: str, device: torch.device, requests: int) -> Engine:
    """Build an engine of the small model with random weights, warmed up."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = load_checkpoint(
            str(write_small(Path(folder) / "small")),
            dtype=loading_dtype(precision, device),
            device=device,
        )
        backend = prepare_model(checkpoint.musicgen, precision)
    threads = psutil.cpu_count(logical=False)
    config = EngineConfig(max_slots=requests, max_duration_s=30, num_threads=threads)
    engine = Engine(checkpoint, config, backend)
    engine.warm_up()
    return engine


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    spaced = np.linspace(arguments.shortest, arguments.longest, arguments.requests)
    durations_s = spaced.round(1).tolist()
    device = torch.device(arguments.device)
    engine = build_engine(arguments.precision, device, arguments.requests)
    ways: dict[str, Callable[[], float]] = {
        "one after another": lambda: timed(lambda: one_after_another(engine, durations_s)),
        "together": lambda: timed(lambda: together(engine, durations_s)),
    }
    if arguments.against == "audiocraft":
        ways["audiocraft"] = audiocraft_batch(arguments.longest, arguments.requests, device)
    seconds = measure(ways, arguments.rounds)
    engine.shutdown()
    report(arguments, sum(durations_s), seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput", description=summary(__doc__)
    )
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--shortest", type=float, default=3.0, help="seconds of music")
    parser.add_argument(
        "--longest", type=float, default=6.0, help="seconds of music; others are evenly spaced"
    )
    parser.add_argument("--precision", choices=BYTES, default="int8")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=2, help="interleaved runs of each")
    parser.add_argument("--against", choices=["audiocraft", "nothing"], default="nothing")
    return parser.parse_args()


def audiocraft_batch(longest_s: float, requests: int, device: torch.device) -> Callable[[], float]:
    """Prepare a fixed batch of AudioCraft; return a function that runs and times it, in seconds."""
    text = torch.randn(1, TEXT_TOKENS, TEXT_SIZE, device=device)
    model = audiocraft_model(SCALES["small"], text).to(device)
    batch = audiocraft_run(model, round(FRAME_RATE * longest_s) + 3, requests)

    def run() -> float:
        torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
        seconds = sum(batch())
        torch.set_num_threads(1)
        return seconds

    return run


def measure(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each way, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        for name, run in ways.items():
            print_round(number, rounds, name)
            times[name].append(run())
    return {name: statistics.median(values) for name, values in times.items()}


def report(arguments: argparse.Namespace, audio_s: float, seconds: dict[str, float]) -> None:
    alone = seconds["one after another"]
    print(f"{arguments.requests} requests, {audio_s:g} s of music, {arguments.precision}\n")
    print("| | seconds | music per second | times one after another |\n|---|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.1f} | {audio_s / value:.2f} s | {alone / value:.2f} |")
    print_result(
        "throughput",
        device=arguments.device,
        precision=arguments.precision,
        requests=arguments.requests,
        audio_s=audio_s,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        speedup={name: round(value / seconds["together"], 3) for name, value in seconds.items()},
    )


if __name__ == "__main__":
    main()
