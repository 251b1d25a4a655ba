"""The script for Redis and the ledger in Python give the same replies to the same reports."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from serve_app.gateway.permits import redis_coordinator
from serve_app.gateway.permits.ledger import Ledger
from serve_app.gateway.permits.messages import LineReport, Reply, Report, Row
from serve_app.gateway.permits.redis_coordinator import RedisCoordinator
from tests.fakes import Clock
from tests.redis_server import redis_server

LIMITS = {"running:a": 3, "running:b": 50, "line:c": 20}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_server() as address:
        yield address


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No session expires, and no reply is late, because the machine stands still.

    Both ledgers grant from the start on.
    """
    monkeypatch.setattr(redis_coordinator, "LEASE_S", 600.0)
    monkeypatch.setattr(redis_coordinator, "REPLY_S", 60.0)
    monkeypatch.setattr(redis_coordinator, "RECOVERY_S", 0.0)


class Session:
    """A session that takes, holds and gives back at random, and believes the replies."""

    def __init__(self, name: str, draw: random.Random) -> None:
        self.name = name
        self.number = 0
        self._draw = draw
        self._used = dict.fromkeys(LIMITS, 0)
        self._idle = dict.fromkeys(LIMITS, 0)
        self._tickets: list[int] = []
        self._last = 0

    def report(self) -> Report:
        self.number += 1
        joins = self.number == 1
        leaves = not joins and self._draw.random() < 0.02
        names = self._draw.sample(sorted(LIMITS), self._draw.randint(0, 3))
        rows = tuple(self._row(name) for name in names)
        lines = (self._line(),) if self._draw.random() < 0.5 else ()
        return Report(self.name, self.number, joins, False, leaves, rows, lines)

    def _row(self, name: str) -> Row:
        taken = self._draw.randint(0, self._idle[name])
        self._idle[name] -= taken
        self._used[name] += taken - self._draw.randint(0, self._used[name])
        if self._draw.random() < 0.3:
            self._idle[name] = 0
        need = self._draw.choice([0, 1, 1, 4, 30])
        return Row(
            allowance=name,
            limit=LIMITS[name],
            refill_per_s=0.0,
            takes_any_alone=name.startswith("line"),
            used=self._used[name],
            idle=self._idle[name],
            spent=0,
            opens=False,
            ends=not (need or self._used[name] or self._idle[name]) and self._draw.random() < 0.5,
            need=need,
            first=min(need, self._draw.choice([1, 30])),
            unit=self._draw.choice([0, 1, 2]),
            waits=self._draw.random() < 0.2,
            left=-1.0,
        )

    def _line(self) -> LineReport:
        events: list[tuple[int, int]] = []
        for _ in range(self._draw.randint(0, 3)):
            self._last += 1
            self._tickets.append(self._last)
            events.append((self._last, self._draw.randint(1, 9000)))
        if self._tickets and self._draw.random() < 0.6:
            events.append((self._tickets.pop(self._draw.randrange(len(self._tickets))), 0))
        return LineReport("c", tuple(events), tuple(self._tickets), self._draw.randint(0, 9))

    def apply(self, report: Report, reply: Reply) -> None:
        """Take over what was granted: as used where the need was met, else as idle."""
        for row, answer in zip(report.rows, reply.answers, strict=True):
            is_met = answer.granted >= row.need
            self._used[row.allowance] += answer.granted * is_met
            self._idle[row.allowance] += answer.extra + answer.granted * (not is_met)


@pytest.mark.parametrize("seed", range(3))
async def test_both_ledgers_reply_alike(url: str, seed: int) -> None:
    draw = random.Random(seed)
    ledger = Ledger(Clock())
    script = RedisCoordinator(url, f"alike-{seed}")
    sessions = [Session(f"s{index}", draw) for index in range(3)]
    granted = 0
    for step in range(250):
        index = draw.randrange(3)
        report = sessions[index].report()
        expected = ledger.exchange(report)
        found = await script.exchange(report)
        assert _in_order(found) == _in_order(expected), (step, report)
        granted += sum(answer.granted for answer in found.answers)
        if report.leaves:
            sessions[index] = Session(f"s{step}-{index}", draw)
        else:
            sessions[index].apply(report, found)
    assert granted > 50
    await script.close()


def _in_order(reply: Reply) -> Reply:
    """Sort what has no order."""
    return replace(reply, recalled=tuple(sorted(reply.recalled)))
