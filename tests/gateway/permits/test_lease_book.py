"""The leases of one ingress replica, by the replies of a ledger."""

import pytest

from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.lease_book import LeaseBook
from serve_app.gateway.permits.ledger import Ledger
from serve_app.gateway.permits.messages import RECOVERY_S, Reply, Report
from tests.fakes import Clock

FEW = Allowance("running:web", 2)
LONG_S = 60.0  # longer than a request waits for the idle units of others


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


def _exchange(ledger: Ledger, book: LeaseBook, number: int, clock: Clock) -> tuple[Report, Reply]:
    report = book.collect("a", number, clock.now, joins=number == 1, rejoins=True)
    return report, ledger.exchange(report)
