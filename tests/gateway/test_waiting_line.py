"""The line: bounded in seconds of music, with estimates by the recent rate."""

import pytest

from serve_app.errors import QueueFull
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.permits.place_tree import Place
from serve_app.gateway.waiting_line import WaitingLine
from tests.fakes import Clock


def line(max_audio_s: float | None = 25.0, clock: Clock | None = None) -> WaitingLine:
    return WaitingLine("small", max_audio_s, Permits(clock=clock or Clock()))


async def test_a_track_longer_than_the_bound_may_wait_alone() -> None:
    queue = line()
    ticket = await queue.enter(60.0)
    with pytest.raises(QueueFull, match="1 requests for 60 seconds of music are waiting"):
        await queue.enter(1.0)
    queue.leave(ticket)
    queue.leave(ticket)
    assert await queue.enter(60.0)


async def test_positions_follow_the_order_of_arrival() -> None:
    queue = line(None)
    first, second, third = [await queue.enter(duration_s) for duration_s in (10.0, 20.0, 5.0)]
    assert [queue.place(one) for one in (first, third)] == [Place(1, 0), Place(3, 30_000)]
    queue.leave(first)
    assert [queue.place(one) for one in (second, third)] == [Place(1, 0), Place(2, 20_000)]


async def test_estimates_follow_the_recent_rate() -> None:
    clock = Clock()
    queue = line(clock=clock)
    await queue.enter(20.0)
    queue.record(10.0)
    clock.now += 5.0
    queue.record(10.0)
    with pytest.raises(QueueFull) as error:
        await queue.enter(30.0)
    assert error.value.retry_after_s == pytest.approx(5.0), "20 s of music at 4 s a second"
    with pytest.raises(QueueFull) as error:
        await queue.enter(13.0)
    assert error.value.retry_after_s == pytest.approx(2.0), "8 s too many"


async def test_an_old_rate_is_forgotten() -> None:
    clock = Clock()
    queue = line(clock=clock)
    await queue.enter(20.0)
    queue.record(10.0)
    clock.now += 60.0
    with pytest.raises(QueueFull) as error:
        await queue.enter(30.0)
    assert error.value.retry_after_s is None
