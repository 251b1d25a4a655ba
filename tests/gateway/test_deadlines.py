"""Deadlines: a track that is late is aborted, others are untouched."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from serve_app.errors import DeadlineExceeded
from serve_app.gateway import deadlines
from serve_app.gateway.deadlines import DeadlineGenerator
from serve_app.types import AudioChunk, GenerationRequest, StreamItem
from tests.fakes import Clock, FakeGenerator
from tests.gateway.streams import PATIENCE_S


class Stalling(FakeGenerator):
    """Never goes on after its first item."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async with contextlib.aclosing(super().generate(request)) as items:
            async for item in items:
                yield item
                await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deadlines, "time", clock)
    return clock


def request(deadline: float | None) -> GenerationRequest:
    return GenerationRequest(
        request_id="a", model="small", prompt="a", duration_s=1.0, deadline=deadline
    )


async def test_a_late_track_is_aborted(clock: Clock) -> None:
    generator = Stalling()
    stream = DeadlineGenerator(generator).generate(request(clock.now + 100.0))
    assert isinstance(await anext(stream), AudioChunk)
    clock.now += 99.95
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(DeadlineExceeded, match="deadline passed before the track was finished"):
            await anext(stream)
    assert generator.closed == 1


async def test_a_deadline_that_has_passed_starts_nothing(clock: Clock) -> None:
    generator = FakeGenerator()
    with pytest.raises(DeadlineExceeded):
        await anext(DeadlineGenerator(generator).generate(request(clock.now - 1.0)))
    assert generator.requests == []


@pytest.mark.parametrize("left_s", [None, 100.0])
async def test_a_track_in_time_is_untouched(clock: Clock, left_s: float | None) -> None:
    generator = FakeGenerator()
    wanted = request(None if left_s is None else clock.now + left_s)
    items = [item async for item in DeadlineGenerator(generator).generate(wanted)]
    assert [type(item) for item in items] == [AudioChunk, AudioChunk]
    assert generator.requests == [wanted]
