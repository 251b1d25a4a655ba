"""The leases of one ingress replica, by the replies of a ledger."""

import pytest

from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.lease_book import LeaseBook
from serve_app.gateway.permits.ledger import Ledger
from serve_app.gateway.permits.messages import RECOVERY_S, Reply, Report
from tests.fakes import Clock

FEW = Allowance("running:web", 2)
MANY = Allowance("running:batch", 400)
LONG_S = 60.0  # of a lease that no request uses; longer than a request waits for the idle units of others


async def test_a_new_ledger_refuses_nobody_until_it_knows_all_holdings() -> None:
    """However late its first reply comes: a start of the actor may take seconds."""
    clock = Clock()
    book = LeaseBook()
    waiting = [book.claim([Want(FEW, 1)], clock.now, is_patient=False) for _ in range(3)]
    clock.now += LONG_S
    ledger = Ledger(clock)
    book.apply(*_exchange(ledger, book, 1, clock), clock.now)
    assert not any(claim.granted.done() for claim in waiting)
    clock.now += RECOVERY_S
    book.apply(*_exchange(ledger, book, 2, clock), clock.now)
    assert all(claim.granted.done() for claim in waiting)
    assert [claim.granted.exception() is None for claim in waiting] == [True, True, False]
    with pytest.raises(Shortage):
        waiting[2].granted.result()


async def test_a_key_that_calls_now_and_then_keeps_its_lease() -> None:
    clock = Clock()
    book = LeaseBook()
    ledger = Ledger(clock)
    clock.now += RECOVERY_S
    wants = [Want(MANY, 1)]
    book.claim(wants, clock.now, is_patient=False)
    book.apply(*_exchange(ledger, book, 1, clock), clock.now)
    for number in range(2, 6):
        book.lease(MANY, clock.now).give_back(1, clock.now, keeps=True)
        clock.now += 0.9 * LONG_S
        book.tidy(clock.now)
        book.apply(*_exchange(ledger, book, number, clock), clock.now)
        assert book.take(wants, clock.now), "without an exchange"
    book.lease(MANY, clock.now).give_back(1, clock.now, keeps=True)
    clock.now += 1.1 * LONG_S
    book.tidy(clock.now)
    report, _ = _exchange(ledger, book, 6, clock)
    assert [row.ends for row in report.rows] == [True]
    assert not book.take(wants, clock.now)


async def test_a_claim_that_is_abandoned_is_reported() -> None:
    """Else nobody would get units in advance: the ledger would know of a request that waits."""
    clock = Clock()
    book = LeaseBook()
    claim = book.claim([Want(FEW, 1)], clock.now, is_patient=False)
    report = book.collect("a", 1, clock.now, joins=True, rejoins=True)
    assert [row.need for row in report.rows] == [1]
    book.abandon(claim)
    report = book.collect("a", 2, clock.now, joins=False, rejoins=True)
    assert [(row.allowance, row.need) for row in report.rows] == [(FEW.name, 0)]


def _exchange(ledger: Ledger, book: LeaseBook, number: int, clock: Clock) -> tuple[Report, Reply]:
    report = book.collect("a", number, clock.now, joins=number == 1, rejoins=True)
    return report, ledger.exchange(report)
