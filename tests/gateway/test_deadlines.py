"""Deadlines: a track that is late is aborted, others are untouched."""

import asyncio
from collections.abc import AsyncGenerator
from time import time

import pytest

from serve_app.errors import DeadlineExceeded
from serve_app.gateway.deadlines import DeadlineGenerator
from serve_app.types import AudioChunk, GenerationRequest, StreamItem
from tests.fakes import FakeGenerator


class Stalling(FakeGenerator):
    """Never goes on after its first item."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        async for item in super().generate(request):
            yield item
            await asyncio.Event().wait()


def request(deadline: float | None) -> GenerationRequest:
    return GenerationRequest(
        request_id="a", model="small", prompt="a", duration_s=1.0, deadline=deadline
    )


async def test_a_late_track_is_aborted() -> None:
    generator = Stalling()
    stream = DeadlineGenerator(generator).generate(request(time() + 0.05))
    assert isinstance(await anext(stream), AudioChunk)
    async with asyncio.timeout(10):
        with pytest.raises(DeadlineExceeded, match="deadline passed before the track was finished"):
            await anext(stream)
    assert generator.closed == 1


async def test_a_deadline_that_has_passed_starts_nothing() -> None:
    generator = FakeGenerator()
    with pytest.raises(DeadlineExceeded):
        await anext(DeadlineGenerator(generator).generate(request(time() - 1.0)))
    assert generator.requests == []


@pytest.mark.parametrize("left_s", [None, 100.0])
async def test_a_track_in_time_is_untouched(left_s: float | None) -> None:
    generator = FakeGenerator()
    wanted = request(None if left_s is None else time() + left_s)
    items = [item async for item in DeadlineGenerator(generator).generate(wanted)]
    assert [type(item) for item in items] == [AudioChunk, AudioChunk]
    assert generator.requests == [wanted]
