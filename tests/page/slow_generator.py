"""A generator whose music goes on as far as a test lets it."""

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np

from serve_app.types import AudioChunk, FinishReason, GenerationRequest, Progress, StreamItem
from tests.fakes import SAMPLE_RATE, TIMINGS, FakeGenerator

CHUNK_S = 0.25
_POLL_S = 0.01


@dataclass
class SlowGenerator(FakeGenerator):
    """Makes a sine in chunks of 0.25 s, each of which is announced by the progress before it.

    speed: seconds of music per second, by the estimates; queue_s: estimate of a request that waits in
    the queue, until a test sets it to 0; allowed_s: music of each track that is made until a test
    allows more.
    """

    speed: float = 4.0
    queue_s: float = 0.0
    allowed_s: float = math.inf

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        self.requests.append(request)
        count = round(request.duration_s / CHUNK_S)
        chunk = np.sin(np.arange(int(CHUNK_S * SAMPLE_RATE)) / 20, dtype=np.float32)[None]
        try:
            if self.queue_s:
                yield Progress(1, 0.0, self.queue_s + request.duration_s / self.speed)
            while self.queue_s:  # noqa: ASYNC110 (a test sets it in another thread)
                await asyncio.sleep(_POLL_S)
            for number in range(1, count + 1):
                left_s = (count - number + 1) * CHUNK_S / self.speed
                yield Progress(0, (number - 1) * CHUNK_S, left_s)
                while number * CHUNK_S > self.allowed_s:  # noqa: ASYNC110 (as above)
                    await asyncio.sleep(_POLL_S)
                finish = FinishReason.LENGTH if number == count else None
                timings = TIMINGS if number == count else None
                yield AudioChunk(
                    chunk, SAMPLE_RATE, finish, timings, track_samples=count * chunk.shape[1]
                )
        finally:
            self.closed += 1
