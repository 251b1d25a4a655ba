"""The line: bounded in seconds of music, with estimates by the recent rate."""

import pytest

from serve_app.errors import QueueFull
from serve_app.gateway import waiting_line
from serve_app.gateway.waiting_line import WaitingLine
from tests.fakes import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting_line, "monotonic", clock)
    return clock


def test_a_track_longer_than_the_bound_may_wait_alone() -> None:
    line = WaitingLine(max_audio_s=25.0)
    ticket = line.enter(60.0)
    with pytest.raises(QueueFull, match="1 requests for 60 seconds of music are waiting"):
        line.enter(1.0)
    line.leave(ticket)
    line.leave(ticket)
    assert line.enter(60.0)


def test_positions_follow_the_order_of_arrival() -> None:
    line = WaitingLine(max_audio_s=None)
    first, second, third = (line.enter(duration_s) for duration_s in (10.0, 20.0, 5.0))
    assert [line.up_to(one) for one in (first, third)] == [[10.0], [10.0, 20.0, 5.0]]
    line.leave(first)
    assert [line.up_to(one) for one in (second, third)] == [[20.0], [20.0, 5.0]]


def test_estimates_follow_the_recent_rate(clock: Clock) -> None:
    line = WaitingLine(max_audio_s=25.0)
    line.enter(20.0)
    line.record(10.0)
    clock.now += 5.0
    line.record(10.0)
    with pytest.raises(QueueFull) as error:
        line.enter(30.0)
    assert error.value.retry_after_s == pytest.approx(7.5), "30 s of music at 4 s a second"


def test_an_old_rate_is_forgotten(clock: Clock) -> None:
    line = WaitingLine(max_audio_s=25.0)
    line.enter(20.0)
    line.record(10.0)
    clock.now += 60.0
    with pytest.raises(QueueFull) as error:
        line.enter(30.0)
    assert error.value.retry_after_s is None
