"""Sources of streams over a generator without a model, which a test holds back."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial

from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.audio.mastering import Mastering
from serve_app.config.api import ApiConfig
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from serve_app.gateway.streams import StreamSource
from serve_app.types import AudioChunk, GenerationRequest, StreamItem
from tests.fakes import SMALL, Clock, FakeGenerator, RecordingObserver

PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long


class LookedAtClock(Clock):
    """A clock that counts how often it is read. A StreamRun reads it each time it wakes."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return super().__call__()


class Held(FakeGenerator):
    """Makes the end of a track only once `go_on` is set."""

    def __init__(self, error: Exception | None = None, late_error: Exception | None = None) -> None:
        super().__init__(error=error, late_error=late_error)
        self.go_on = asyncio.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async for item in super().generate(request):
            yield item
            if isinstance(item, AudioChunk) and item.finish_reason is None:
                await self.go_on.wait()


def source_of(
    generator: FakeGenerator, response_format: str = "pcm", duration_s: float = 1.0
) -> StreamSource:
    """Source of a stream of `generator`. Its pcm has 64,000 bytes a second."""
    request = GenerationRequest(
        request_id="1", model="small", prompt="a", duration_s=duration_s, caller="web"
    )
    service = GenerationService(
        generator,
        ModelRouter([SMALL], None),
        Readiness(generator),
        ApiConfig(),
        RecordingObserver(),
    )
    start = partial(service.start_track, request, SMALL)
    return StreamSource(start, Encoding(FORMATS[response_format]), Mastering())


async def looked_at(clock: LookedAtClock, times: int = 3) -> None:
    """Wait until the clock has been read again so many times."""
    seen = clock.looks
    await until(lambda: clock.looks >= seen + times)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until other tasks have brought the condition about. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - timers and threads bring it about
            await asyncio.sleep(0.01)
