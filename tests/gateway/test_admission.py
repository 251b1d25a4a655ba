"""Admission: waiting requests are bounded, and told their position."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from serve_app.errors import QueueFull
from serve_app.gateway import admission
from serve_app.gateway.admission import AdmissionQueue
from serve_app.gateway.readiness import Readiness
from serve_app.model_status import ModelCard
from serve_app.types import AudioChunk, FinishReason, GenerationRequest, Progress, StreamItem
from tests.fakes import FakeGenerator

RATE = 100


class Gate:
    """A generator that makes one track at a time, each when it is released."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.released = asyncio.Semaphore(0)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async with self.turn:
            await self.released.acquire()
            samples = np.zeros((1, round(request.duration_s * RATE)), np.float32)
            yield AudioChunk(samples, RATE, FinishReason.LENGTH)


class Script:
    """A generator of given items."""

    def __init__(self, *items: StreamItem) -> None:
        self.items = items

    async def generate(self, _: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        for item in self.items:
            yield item


def request(duration_s: float = 10.0, *, progress: bool = True) -> GenerationRequest:
    return GenerationRequest(
        request_id="a", model="small", prompt="a", duration_s=duration_s, progress=progress
    )


def queue(generator: Gate | Script, max_audio_s: float | None = None) -> AdmissionQueue:
    card = ModelCard("small", "s", (), "l", max_queued_audio_s=max_audio_s)
    return AdmissionQueue(generator, [card], Readiness(FakeGenerator()))


async def collect(stream: AsyncGenerator[StreamItem, None]) -> list[StreamItem]:
    return [item async for item in stream]


async def position(stream: AsyncGenerator[StreamItem, None]) -> int:
    item = await anext(stream)
    assert isinstance(item, Progress)
    return item.queue_position


async def test_waiting_requests_are_told_their_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "INTERVAL_S", 0.001)
    gate = Gate()
    waiting = queue(gate)
    streams = [waiting.generate(request()) for _ in range(3)]
    assert [await position(stream) for stream in streams] == [1, 2, 3]
    gate.released.release()
    made = await collect(streams[0])
    assert isinstance(made[-1], AudioChunk)
    assert made[-1].samples.shape[1] == 10 * RATE
    assert [await position(stream) for stream in streams[1:]] == [1, 2]
    estimate = await anext(streams[1])
    assert isinstance(estimate, Progress)
    assert estimate.remaining_s == 5.0, "10 s of music, 50 steps of 0.01 s each, in a free slot"
    await streams[1].aclose()
    assert await position(streams[2]) == 1, "an abandoned request leaves the line"
    gate.released.release()
    await collect(streams[2])


async def test_requests_without_progress_get_audio_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "INTERVAL_S", 0.001)
    gate = Gate()
    task = asyncio.create_task(collect(queue(gate).generate(request(progress=False))))
    done, _ = await asyncio.wait({task}, timeout=0.02)
    assert not done
    gate.released.release()
    assert [type(item) for item in await task] == [AudioChunk]


async def test_positions_in_a_replica_are_replaced_by_those_of_the_line() -> None:
    running = Progress(0, 0.5, 1.5)
    chunk = AudioChunk(np.zeros((1, RATE), np.float32), RATE, FinishReason.LENGTH)
    waiting = Progress(7, 0.0, 12.0)
    items = await collect(queue(Script(waiting, running, chunk)).generate(request()))
    assert items == [Progress(1, 0.0, 12.0), running, chunk], "the replica's estimate is kept"


async def test_waiting_music_is_bounded() -> None:
    gate = Gate()
    waiting = queue(gate, max_audio_s=25.0)
    tasks = [asyncio.create_task(collect(waiting.generate(request()))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="2 requests for 20 seconds of music are waiting"):
        await anext(waiting.generate(request()))
    tasks.append(asyncio.create_task(collect(waiting.generate(request(5.0)))))
    for _ in tasks:
        gate.released.release()
    assert [len(chunks) for chunks in await asyncio.gather(*tasks)] == [1, 1, 1]


async def test_a_full_line_says_when_a_model_that_starts_is_ready() -> None:
    gate = Gate()
    fleet = FakeGenerator()
    card = ModelCard("small", "s", (), "l", max_queued_audio_s=25.0)
    starting = AdmissionQueue(gate, [card], Readiness(fleet))
    waiting = asyncio.create_task(collect(starting.generate(request(20.0))))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as error:
        await anext(starting.generate(request()))
    assert error.value.retry_after_s is None, "it has a replica, which has made nothing yet"
    del fleet.step_s["small"]
    starting = AdmissionQueue(gate, [card], Readiness(fleet))
    others = asyncio.create_task(collect(starting.generate(request(20.0))))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as error:
        await anext(starting.generate(request()))
    assert error.value.headers == {"retry-after": "20"}
    gate.released.release()
    gate.released.release()
    await asyncio.gather(waiting, others)
