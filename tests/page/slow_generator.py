"""A generator that makes music at a given speed."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np

from serve_app.types import AudioChunk, FinishReason, GenerationRequest, Progress, StreamItem
from tests.fakes import SAMPLE_RATE, TIMINGS, FakeGenerator

_CHUNK_S = 0.25


@dataclass
class SlowGenerator(FakeGenerator):
    """Makes a sine in chunks of 0.25 s.

    speed: seconds of music per second; queue_s: seconds that a request waits in the queue.
    """

    speed: float = 0.6
    queue_s: float = 0.0

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        self.requests.append(request)
        count = round(request.duration_s / _CHUNK_S)
        chunk = np.sin(np.arange(int(_CHUNK_S * SAMPLE_RATE)) / 20, dtype=np.float32)[None]
        try:
            if self.queue_s:
                yield Progress(1, 0.0, self.queue_s + request.duration_s / self.speed)
                await asyncio.sleep(self.queue_s)
            for number in range(1, count + 1):
                left_s = (count - number + 1) * _CHUNK_S / self.speed
                yield Progress(0, (number - 1) * _CHUNK_S, left_s)
                await asyncio.sleep(_CHUNK_S / self.speed)
                finish = FinishReason.LENGTH if number == count else None
                timings = TIMINGS if number == count else None
                yield AudioChunk(
                    chunk, SAMPLE_RATE, finish, timings, track_samples=count * chunk.shape[1]
                )
        finally:
            self.closed += 1
