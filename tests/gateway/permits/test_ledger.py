"""The ledger: leases end, reports may repeat, a new ledger learns from reports."""

from typing import Any

import pytest

from serve_app.gateway.permits.ledger import Ledger
from serve_app.gateway.permits.messages import (
    LEASE_S,
    RECOVERY_S,
    LineReport,
    Reply,
    Report,
    Row,
)
from tests.fakes import Clock


def row(**fields: Any) -> Row:
    values: dict[str, Any] = {
        "allowance": "running:web",
        "limit": 2,
        "refill_per_s": 0.0,
        "takes_any_alone": False,
        "used": 0,
        "idle": 0,
        "spent": 0,
        "opens": False,
        "ends": False,
        "need": 0,
        "first": 0,
        "unit": 0,
        "waits": False,
        "left": -1.0,
    }
    return Row(**values | fields)


class Sessions:
    """Sessions that report to a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.numbers: dict[str, int] = {}

    def report(self, session: str, *rows: Row, lines: Any = (), **fields: Any) -> Reply:
        number = self.numbers.get(session, 0) + 1
        self.numbers[session] = number
        flags = {"joins": number == 1, "rejoins": False, "leaves": False} | fields
        return self.ledger.exchange(Report(session, number, rows=rows, lines=lines, **flags))

    def granted(self, session: str, need: int = 1, **fields: Any) -> int:
        reply = self.report(session, row(need=need, first=need, **fields))
        return reply.answers[0].granted


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(Ledger(clock))


def test_the_units_of_a_silent_session_return_when_its_lease_ends(
    sessions: Sessions, clock: Clock
) -> None:
    assert sessions.granted("a", 2) == 2
    sessions.report("a", lines=[LineReport("small", ((1, 5000),), (), 0.0)])
    clock.now += LEASE_S - 0.1
    assert sessions.granted("b") == 0
    clock.now += 0.2
    assert sessions.granted("b", 2) == 2
    news = LineReport("small", ((1, 7000),), (1,), 0.0)
    reply = sessions.report("b", row(used=2), lines=[news])
    assert reply.lines[0].places == ((1, 1, 0),), "the lost session's ticket is gone"
    assert not sessions.report("a", row(used=2)).is_known
    sessions.report("a", row(used=2, opens=True), joins=True, rejoins=True)
    sessions.report("b", row(used=0))
    assert sessions.granted("b") == 0, "its two requests still run"


def test_a_report_without_an_answer_may_be_repeated(sessions: Sessions) -> None:
    spent = {"allowance": "audio:web", "limit": 60_000, "refill_per_s": 1000.0}
    sessions.report("a", row(**spent, need=5000, first=5000, opens=True))
    for _ in range(3):
        reply = sessions.report("a", row(**spent, spent=5000, opens=True))
    assert reply.answers[0].unspent == 55_000
    entered = LineReport("small", ((1, 1000), (2, 1000), (1, 0)), (2,), 0.0)
    for _ in range(2):
        reply = sessions.report("a", lines=[entered])
    assert reply.lines[0].places == ((2, 1, 0),)
    assert (reply.lines[0].count, reply.lines[0].total_ms) == (1, 1000)


def test_a_report_that_was_overtaken_has_no_effect(sessions: Sessions) -> None:
    assert sessions.granted("a", 2) == 2
    late = Report("a", 1, False, False, False, (row(used=0),), ())
    assert sessions.ledger.exchange(late).answers == ()
    assert sessions.granted("b") == 0


def test_a_new_ledger_grants_once_the_sessions_of_the_old_one_have_reported(
    clock: Clock,
) -> None:
    sessions = Sessions(Ledger(clock))
    first = sessions.report("b", row(need=1, first=1, opens=True), joins=True, rejoins=True)
    assert first.answers[0].granted == 0
    assert not first.answers[0].is_final
    sessions.report("a", row(used=2, opens=True), joins=True, rejoins=True)
    clock.now += RECOVERY_S
    reply = sessions.report("b", row(need=1, first=1))
    assert reply.answers[0].granted == 0
    assert reply.answers[0].is_final


def test_a_restarted_ledger_grants_nothing_to_a_new_session_that_reports_first(
    clock: Clock,
) -> None:
    sessions = Sessions(Ledger(clock, is_restarted=True))
    reply = sessions.report("new", row(need=2, first=2, unit=1, opens=True))
    assert not reply.is_open
    assert (reply.answers[0].granted, reply.answers[0].extra) == (0, 0)
    clock.now += RECOVERY_S - 0.01
    old = sessions.report("old", row(used=2, opens=True), joins=True, rejoins=True)
    assert old.answers[0].available == 0, "no more than the limit"
    clock.now += 0.01
    reply = sessions.report("new", row(need=2, first=2))
    assert (reply.answers[0].granted, reply.answers[0].is_final) == (0, True)


def test_a_restarted_ledger_grants_when_its_time_is_over(clock: Clock) -> None:
    sessions = Sessions(Ledger(clock, is_restarted=True))
    assert sessions.granted("new", opens=True) == 0
    clock.now += RECOVERY_S
    assert sessions.granted("new") == 1


def test_a_first_start_grants_at_once(sessions: Sessions) -> None:
    assert sessions.granted("a") == 1


def test_a_new_ledger_takes_over_the_music_that_was_left(clock: Clock) -> None:
    sessions = Sessions(Ledger(clock))
    music = {"allowance": "audio:web", "limit": 60_000, "refill_per_s": 1000.0}
    reply = sessions.report("a", row(**music, opens=True, left=20_000.0), joins=True, rejoins=True)
    assert reply.answers[0].unspent == 20_000
    clock.now += 4
    assert sessions.report("a", row(**music)).answers[0].unspent == 24_000


def test_a_turn_passes_on_to_the_session_that_waits(sessions: Sessions) -> None:
    turn = {"allowance": "turn:small", "limit": 1, "waits": True}
    assert sessions.report("a", row(**turn, need=1, first=1)).answers[0].granted == 1
    assert sessions.report("b", row(**turn, need=1, first=1)).answers[0].granted == 0
    sessions.ledger.take_woken()
    sessions.report("a", row(allowance="turn:small", limit=1))
    assert sessions.ledger.take_woken() == {"b"}
    assert sessions.report("b", row(**turn, need=1, first=1)).answers[0].granted == 1


def test_a_changed_limit_applies_at_once(sessions: Sessions) -> None:
    assert sessions.granted("a", 2) == 2
    assert sessions.report("b", row(limit=3, need=2, first=2)).answers[0].granted == 1


def test_unused_accounts_are_forgotten(sessions: Sessions, clock: Clock) -> None:
    sessions.granted("a", 2)
    sessions.report("a", row(ends=True))
    clock.now += 61
    sessions.report("a", joins=True)
    assert not sessions.ledger._accounts
