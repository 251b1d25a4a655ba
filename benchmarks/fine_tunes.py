"""Measure fine-tunes in one replica: gaps of a running stream during loads, throughput, memory.

python -m benchmarks.fine_tunes [--model nano] [--precision int8] [--fine-tunes 3]

`small` is the small model's true shape with random weights; its fine-tunes are whole checkpoints in
the page cache. The rows: chunks of a stream of the model while its fine-tunes are loaded one after
another, beside the same stream alone; a track of each fine-tune at once, in lanes of one engine and
in a process for each. The last line is JSON.
"""

import argparse
import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import torch

from benchmarks.checkpoints import write_small
from benchmarks.report import print_result, print_table, summary
from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.config.app import EngineConfig
from serve_app.config.model_loading import ModelLoadingConfig
from serve_app.engine.batch import Batch
from serve_app.engine.device import loading_dtype, resolve_device
from serve_app.engine.engine import Engine
from serve_app.engine.fine_tunes import FineTunes
from serve_app.engine.sequence import Sequence
from serve_app.models.musicgen.execution import prepare_model
from serve_app.types import GenerationRequest

EMBEDDED = "embedded:musicgen-nano"
SLOTS = 2


def new_engine(source: str, precision: str, fine_tunes: int = 0) -> Engine:
    options = {"precision": precision, "max_slots": SLOTS, "max_duration_s": 30.0}
    config = EngineConfig.model_validate(options)
    device = resolve_device(config)
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(source, dtype=loading_dtype(precision, device), device=device)
    backend = prepare_model(checkpoint.musicgen, precision)
    return Engine(checkpoint, config, backend, fine_tunes=fine_tunes)


def request(model: str, duration_s: float) -> GenerationRequest:
    return GenerationRequest(
        request_id=model, model=model, prompt="calm piano", duration_s=duration_s, streamed=True
    )


async def play(
    engine: Engine,
    lane: str,
    duration_s: float,
    seconds: list[float],
    begun: asyncio.Event | None = None,
) -> None:
    """Stream a track; note the time of each chunk."""
    async for _ in engine.generate(request(lane, duration_s), lane):
        seconds.append(perf_counter())
        if begun is not None:
            begun.set()


@contextmanager
def noted_steps() -> Iterator[list[float]]:
    """Note the time of the end of each step of any lane."""
    seconds: list[float] = []
    step = Batch.step

    def noted(self: Batch, slots: int, sequences: Iterable[Sequence]) -> None:
        step(self, slots, sequences)
        seconds.append(perf_counter())

    Batch.step = noted  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Batch.step = step  # type: ignore[method-assign]


def gaps_ms(seconds: list[float]) -> list[float]:
    return [1000 * (after - before) for before, after in itertools.pairwise(seconds)]


def row(steps: list[float], chunks: list[float]) -> dict[str, float]:
    gaps = gaps_ms(steps)
    return {
        "usual step ms": round(statistics.median(gaps), 2),
        "largest gap of steps ms": round(max(gaps), 1),
        "largest gap of chunks ms": round(max(gaps_ms(chunks))),
    }


async def stalls(engine: Engine, fine_tunes: FineTunes, names: list[str]) -> dict[str, Any]:
    """Stream alone, then while fine-tunes are loaded; both without the first chunk."""
    rows = {}
    for title, loads in (("alone", []), ("during loads", names)):
        chunks: list[float] = []
        with noted_steps() as steps:
            begun = asyncio.Event()
            stream = asyncio.create_task(play(engine, "", 30.0, chunks, begun))
            await begun.wait()
            steps.clear()
            began = perf_counter()
            for name in loads:
                async with fine_tunes.hold(name):
                    pass
            loaded_s = (perf_counter() - began) / max(1, len(loads))
            if not loads:
                await asyncio.sleep(3.0)
            noted = list(steps)
            stream.cancel()
        until = [at for at in chunks if at <= noted[-1]]
        rows[title] = row(noted, until) | {"seconds of a load": round(loaded_s, 2)}
    return rows


def memory_mib() -> float:
    return round(psutil.Process().memory_full_info().uss / 2**20)


async def tracks(engine: Engine, lanes: list[str], duration_s: float) -> float:
    """Seconds of music per second of one track for each lane, at once."""
    began = perf_counter()
    await asyncio.gather(*(play(engine, lane, duration_s, []) for lane in lanes))
    return len(lanes) * duration_s / (perf_counter() - began)


async def measure(arguments: argparse.Namespace, sources: list[str]) -> dict[str, Any]:
    base, *others = sources
    engine = new_engine(base, arguments.precision, len(others))
    names = [f"tune{number}" for number in range(len(others))]
    loading = {
        name: ModelLoadingConfig(model_id=name, model_source=source)
        for name, source in zip(names, others, strict=True)
    }
    own = ModelLoadingConfig(model_id="base", model_source=base)
    fine_tunes = FineTunes(engine, own, loading, len(names), 600.0)
    engine.warm_up()
    before = memory_mib()
    rows = await stalls(engine, fine_tunes, names)
    one = await tracks(engine, names, arguments.duration_s)
    result = {
        "stalls": rows,
        "one engine": {"music s/s": round(one, 2), "MiB": memory_mib()},
        "MiB of a fine-tune": round((memory_mib() - before) / len(names)),
    }
    fine_tunes.shutdown()
    engine.shutdown()
    return result


async def child(source: str, precision: str, duration_s: float) -> None:
    """Make one track in an engine alone, once a line is read."""
    engine = new_engine(source, precision)
    engine.warm_up()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await tracks(engine, [""], duration_s)
    print(memory_mib(), flush=True)
    engine.shutdown()


def apart(arguments: argparse.Namespace, sources: list[str]) -> dict[str, float]:
    """A process for each fine-tune, all at once."""
    options = ["--precision", arguments.precision, "--duration-s", str(arguments.duration_s)]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fine_tunes", *options, "--child"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([*command, source], **pipes) for source in sources]
    inputs = [one.stdin for one in children if one.stdin is not None]
    outputs = [one.stdout for one in children if one.stdout is not None]
    for ready in outputs:
        ready.readline()
    began = perf_counter()
    for go in inputs:
        go.write("\n")
        go.flush()
    memory = [float(output.readline()) for output in outputs]
    elapsed_s = perf_counter() - began
    for one in children:
        one.wait()
    music_s = len(sources) * arguments.duration_s
    return {"music s/s": round(music_s / elapsed_s, 2), "MiB": sum(memory)}


def write_sources(model: str, folder: Path, count: int) -> list[str]:
    """Write the checkpoints: the model, and copies of it as fine-tunes of the same cost."""
    source = EMBEDDED if model == "nano" else str(write_small(folder / "small"))
    return [source] * (count + 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fine_tunes", description=summary(__doc__)
    )
    parser.add_argument("--model", choices=["nano", "small"], default="small")
    parser.add_argument("--precision", default="int8", help="of the weights")
    parser.add_argument("--fine-tunes", type=int, default=2)
    parser.add_argument("--duration-s", type=float, default=4.0, help="of each track")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        asyncio.run(child(arguments.child, arguments.precision, arguments.duration_s))
        return
    with tempfile.TemporaryDirectory() as folder:
        sources = write_sources(arguments.model, Path(folder), arguments.fine_tunes)
        result = asyncio.run(measure(arguments, sources))
        rows = {"one engine": result["one engine"], "apart": apart(arguments, sources[1:])}
    print_table(result["stalls"])
    print_table(rows)
    print(f"MiB of a fine-tune in memory: {result['MiB of a fine-tune']}")
    print_result("fine_tunes", model=arguments.model, **result | {"apart": rows["apart"]})


if __name__ == "__main__":
    main()
