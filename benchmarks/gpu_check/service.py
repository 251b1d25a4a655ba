"""Check 9: the engine with its codec under streams: first audio, steps, late chunks, memory."""

import asyncio
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from unittest import mock

import psutil
import torch

from benchmarks.gpu_check.company import audio
from benchmarks.gpu_check.measurement import Measurement, Setting, at_most, found
from benchmarks.gpu_check.models import MOST_SLOTS, checkpoint, request, running
from serve_app.engine.engine import Engine
from serve_app.types import AudioChunk

STEP_MS = 20.0  # a step makes so much music
_GROWTH_MIB = 64.0
_REQUESTS = 200


@dataclass
class Listener:
    """The chunks of one stream: when each came, and until when its music lasts."""

    asked_at: float = field(default_factory=perf_counter)
    first_audio_s: float = 0.0
    late: int = 0
    _ends_at: float = 0.0

    def hear(self, chunk: AudioChunk, now: float) -> None:
        """Count a chunk that came after the music before it had ended."""
        if not self._ends_at:
            self.first_audio_s = now - self.asked_at
            self._ends_at = now
        elif now > self._ends_at:
            self.late += 1
            self._ends_at = now
        self._ends_at += chunk.duration_s


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield latencies of 1 and of 16 streams, and the growth of memory over many requests."""
    slots = 4 if setting.tiny else MOST_SLOTS
    duration_s = 1.5 if setting.tiny else 10.0
    with running(checkpoint(setting), setting, max_slots=slots, max_duration_s=30.0) as engine:
        for streams in (1, slots):
            yield from _streams(engine, streams, duration_s)
        yield from _growth(engine, 12 if setting.tiny else _REQUESTS, setting)


def _streams(engine: Engine, streams: int, duration_s: float) -> Iterator[Measurement]:
    steps: list[float] = []
    with mock.patch.object(engine.loop.batch, "step", timed(engine.loop.batch.step, steps)):
        heard = asyncio.run(_listen(engine, streams, duration_s))
    label = f"{streams} stream{'s' if streams > 1 else ''}"
    first_ms = 1000 * statistics.median(one.first_audio_s for one in heard)
    yield found(f"{label}: first audio, median", round(first_ms, 1), "ms")
    p99_ms = 1000 * percentile(steps, 0.99)
    yield at_most(f"{label}: 99th percentile of a step", round(p99_ms, 2), STEP_MS, "ms")
    yield at_most(f"{label}: chunks that came late", sum(one.late for one in heard), 0)


async def _listen(engine: Engine, streams: int, duration_s: float) -> list[Listener]:
    async def listen(number: int) -> Listener:
        listener = Listener()
        stream = request("lofi beat", duration_s, number, streamed=True)
        async for item in engine.generate(stream):
            if isinstance(item, AudioChunk):
                listener.hear(item, perf_counter())
        return listener

    return list(await asyncio.gather(*(listen(number) for number in range(streams))))


def timed(step: Callable[..., object], times: list[float]) -> Callable[..., object]:
    """Wrap a step; append the seconds from its start to that of the next, which the GPU sets."""

    def run_timed(*arguments: object) -> object:
        started_at = perf_counter()
        result = step(*arguments)
        times.append(perf_counter() - started_at)
        return result

    return run_timed


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _growth(engine: Engine, count: int, setting: Setting) -> Iterator[Measurement]:
    """Measure the memory that requests leave behind, after a tenth of them to warm up."""
    asyncio.run(_generate(engine, max(1, count // 10)))
    before = memory_mib(setting.device)
    asyncio.run(_generate(engine, count))
    growth = memory_mib(setting.device) - before
    yield at_most(f"memory growth over {count} requests", round(growth, 1), _GROWTH_MIB, "MiB")


async def _generate(engine: Engine, count: int) -> None:
    """Generate tracks of half a second, as many at a time as there are slots."""
    room = asyncio.Semaphore(engine.stats().slots or 1)

    async def one(number: int) -> None:
        async with room:
            await audio(engine, request("lofi", 0.5, number))

    await asyncio.gather(*(one(number) for number in range(count)))


def memory_mib(device: torch.device) -> float:
    """Return the memory in use: of the whole card, or of this process on a CPU."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / 2**20
    return float(psutil.Process().memory_info().rss / 2**20)
