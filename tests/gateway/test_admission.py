"""The line before a model: bounded in seconds of music, and everybody knows their place."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest

from serve_app.errors import QueueFull
from serve_app.gateway import admission
from serve_app.gateway.admission import AdmissionQueue, Line
from serve_app.types import AudioChunk, FinishReason, GenerationRequest, ModelCard, ReplicaStatus

RATE = 100


class Gate:
    """A generator that makes one piece at a time, each when it is let."""

    def __init__(self) -> None:
        self.turn, self.let = asyncio.Lock(), asyncio.Semaphore(0)
        self.seeds: list[int | None] = []

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        async with self.turn:
            await self.let.acquire()
            self.seeds.append(request.sampling.seed)
            samples = np.zeros((1, round(request.duration_s * RATE)), np.float32)
            yield AudioChunk(samples, RATE, request.sampling.seed or 0, FinishReason.LENGTH)

    async def replicas(self, _: str) -> list[ReplicaStatus]:
        return []

    def wake(self, _: str) -> None:
        raise NotImplementedError


def request(duration_s: float = 10.0) -> GenerationRequest:
    return GenerationRequest(
        request_id="a", model="small", prompt="a", duration_s=duration_s, progress=True
    )


def room(gate: Gate, max_audio_s: float | None = None) -> AdmissionQueue:
    return AdmissionQueue(gate, [ModelCard("small", "s", (), "l", max_queued_audio_s=max_audio_s)])


async def collect(stream: AsyncGenerator[AudioChunk, None]) -> list[AudioChunk]:
    return [chunk async for chunk in stream]


async def test_everybody_knows_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "INTERVAL_S", 0.001)
    gate = Gate()
    waiting = room(gate)
    streams = [waiting.generate(request()) for _ in range(3)]
    first = [await anext(stream) for stream in streams]
    assert [chunk.progress.queue_position for chunk in first if chunk.progress] == [1, 2, 3]
    assert all(chunk.progress and chunk.progress.remaining_s is None for chunk in first)
    gate.let.release()
    made = await collect(streams[0])
    assert made[-1].samples.shape[1] == 10 * RATE
    later = [await anext(stream) for stream in streams[1:]]
    assert [chunk.progress.queue_position for chunk in later if chunk.progress] == [1, 2]
    assert all(chunk.progress and chunk.progress.remaining_s for chunk in later), (
        "10 s of music came: there is a rate"
    )
    await streams[1].aclose()
    place = (await anext(streams[2])).progress
    assert place is not None
    assert place.queue_position == 1, "who goes away leaves the line"
    gate.let.release()
    await collect(streams[2])


async def test_each_request_has_a_seed_from_the_start() -> None:
    gate = Gate()
    waiting = room(gate)
    gate.let.release()
    [chunk] = await collect(waiting.generate(request()))
    assert gate.seeds == [chunk.seed]


async def test_the_line_is_bounded_in_seconds_of_music() -> None:
    gate = Gate()
    waiting = room(gate, max_audio_s=25.0)
    tasks = [asyncio.create_task(collect(waiting.generate(request()))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="2 requests for 20 seconds of music are waiting"):
        await anext(waiting.generate(request()))
    tasks.append(asyncio.create_task(collect(waiting.generate(request(5.0)))))
    for _ in tasks:
        gate.let.release()
    assert [len(chunks) for chunks in await asyncio.gather(*tasks)] == [1, 1, 1]


def test_a_long_piece_may_wait_alone() -> None:
    line = Line(max_audio_s=25.0)
    ticket = line.enter(60.0)
    with pytest.raises(QueueFull):
        line.enter(1.0)
    line.leave(ticket)
    line.leave(ticket)
    assert line.enter(60.0)


def test_when_to_come_back_follows_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(admission, "monotonic", lambda: now)
    line = Line(max_audio_s=25.0)
    line.enter(20.0)
    line.record(10.0)
    now += 5.0
    line.record(10.0)
    with pytest.raises(QueueFull) as error:
        line.enter(30.0)
    assert error.value.retry_after_s == pytest.approx(7.5), "30 s of music at 4 s a second"
    now += 60.0
    line.record(0.0)
    with pytest.raises(QueueFull) as error:
        line.enter(30.0)
    assert error.value.retry_after_s is None
