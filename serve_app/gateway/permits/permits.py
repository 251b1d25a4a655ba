"""Permits of one ingress replica, within limits that hold for all of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from serve_app.gateway.permits.allowance import Allowance, Want
from serve_app.gateway.permits.claim import Claim
from serve_app.gateway.permits.coordinator import Coordinator
from serve_app.gateway.permits.keeper import LeaseKeeper
from serve_app.gateway.permits.lease_book import LeaseBook
from serve_app.gateway.permits.line_journal import LineJournal, Ticket
from serve_app.gateway.permits.observer import LogPermitObserver, PermitObserver, Source
from serve_app.gateway.permits.place_tree import Place

_START_S = 5.0  # for which a start waits for the coordinator
_FORGET_EVERY = 1024  # decisions


class Permits:
    """Takes units of allowances, and keeps lines.

    coordinator: None: limits hold for this process alone, and no request waits for a decision.
    With one, units are leased in advance, and only a request for which they do not suffice waits for
    an exchange; while the coordinator is out of reach, limits hold for each process.
    """

    def __init__(
        self,
        coordinator: Coordinator | None = None,
        observer: PermitObserver | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock or monotonic
        self._observer = observer or LogPermitObserver()
        self._book = LeaseBook()
        self._decisions = 0
        self._keeper = (
            None
            if coordinator is None
            else LeaseKeeper(self._book, coordinator, self._observer, self._clock)
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep leases meanwhile. The start waits a few seconds for the coordinator."""
        if self._keeper is None:
            yield
            return
        keeping = asyncio.create_task(self._keeper.run())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_START_S):
                    await self._keeper.reached.wait()
            yield
        finally:
            self._keeper.stop()
            await keeping

    async def take(self, *wants: Want, is_patient: bool = False) -> None:
        """Take units of all allowances. is_patient: wait until there are enough. Raises Shortage."""
        now = self._clock()
        if self._takes_idle(wants, now):
            self._decide("lease")
        elif self._keeper is None or not self._keeper.reached.is_set():
            self._decide("local")
            self._book.take_alone(wants, now)
        else:
            self._decide("coordinator")
            await self._claimed(self._keeper, wants, now, is_patient=is_patient)

    def give_back(self, *wants: Want) -> None:
        """Take back the units of a request that ended, or of what it did not spend."""
        now = self._clock()
        for want in wants:
            lease = self._book.lease(want.allowance, now)
            lease.give_back(want.amount, now, keeps=self._is_shared)
            self._book.touch(lease)
            if lease.is_tight and self._keeper is not None:
                self._keeper.hurry()

    def charge(self, allowance: Allowance, amount: int) -> None:
        """Spend units that were not known in advance; the allowance may be overdrawn."""
        lease = self._book.lease(allowance, self._clock())
        lease.charge(amount, self._clock())
        self._book.touch(lease)
        if self._keeper is not None:
            self._keeper.note()

    def left(self, allowance: Allowance) -> float:
        """Return the units left, as far as they are known here."""
        return self._book.lease(allowance, self._clock()).left(self._clock())

    def line(self, model: str) -> LineJournal:
        """Return the line of a model: its counts and its rate."""
        return self._book.line(model)

    def enter(self, model: str, music_ms: int) -> Ticket:
        """Put a request at the end of a line."""
        ticket = self._book.line(model).enter(music_ms)
        self._note()
        return ticket

    def leave(self, model: str, ticket: Ticket) -> bool:
        """Take a request out of its line; tell whether it was in it."""
        was_waiting = self._book.line(model).leave(ticket)
        self._note()
        return was_waiting

    def place(self, model: str, ticket: Ticket) -> Place:
        """Return a request's place in its line."""
        place = self._book.line(model).place(ticket)
        self._note()
        return place

    @property
    def now(self) -> float:
        """The time of the clock that rates are measured with."""
        return self._clock()

    @property
    def _is_shared(self) -> bool:
        return self._keeper is not None and self._keeper.reached.is_set()

    def _takes_idle(self, wants: tuple[Want, ...], now: float) -> bool:
        """Take leased units if there are enough, and ask for further ones where they run low."""
        if self._keeper is None:
            return False
        if not self._keeper.is_leased(now):
            self._book.void()
            return False
        is_taken = self._book.take(wants, now)
        if is_taken and self._book.is_low(wants, now):
            self._keeper.hurry()
        return is_taken

    async def _claimed(
        self, keeper: LeaseKeeper, wants: tuple[Want, ...], now: float, *, is_patient: bool
    ) -> None:
        """Wait for the coordinator's decision. Raises Shortage."""
        claim = self._book.claim(wants, now, is_patient=is_patient)
        keeper.hurry()
        try:
            await claim.granted
        except asyncio.CancelledError:
            self._abandon(claim)
            raise

    def _abandon(self, claim: Claim) -> None:
        """Give up a claim of a request that was cancelled, even if it had just been granted."""
        self._book.abandon(claim)
        if not claim.granted.cancelled() and claim.granted.exception() is None:
            self.give_back(*claim.wants)

    def _decide(self, source: Source) -> None:
        self._observer.decided(source)
        self._decisions += 1
        if self._keeper is not None:
            return
        self._observer.reached(is_reached=True)  # this process is the keeper
        if self._decisions % _FORGET_EVERY == 0:
            self._book.forget_quiet(self._clock())

    def _note(self) -> None:
        if self._keeper is not None:
            self._keeper.note()
