"""Exchange of reports between one ingress replica and the coordinator."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import uuid4

from serve_app.gateway.permits.coordinator import Coordinator, Unreachable
from serve_app.gateway.permits.lease_book import LeaseBook
from serve_app.gateway.permits.messages import HEARTBEAT_S, LEASE_S, REPLY_S, RETRY_S, Reply, Report
from serve_app.gateway.permits.observer import PermitObserver

logger = logging.getLogger(__name__)

_AGAIN_S = 0.05  # between two reports of claims that wait for others' idle units
_NEWS_S = 0.1  # for which news of lines are gathered
_TIDY_S = 5.0


class LeaseKeeper:
    """Reports what has changed, one report at a time: whatever comes meanwhile is in the next one."""

    def __init__(
        self,
        book: LeaseBook,
        coordinator: Coordinator,
        observer: PermitObserver,
        clock: Callable[[], float],
    ) -> None:
        self._book = book
        self._coordinator = coordinator
        self._observer = observer
        self._clock = clock
        self._process = uuid4().hex[:12]
        self._sessions = 0
        self._number = 0
        self._session = ""
        self._is_known = False
        self._listening: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._confirmed_at = -LEASE_S
        self._tidied_at = clock()
        self.reached = asyncio.Event()

    def is_leased(self, now: float) -> bool:
        """Whether the coordinator surely holds this session's units for it."""
        return now - self._confirmed_at < LEASE_S

    def hurry(self) -> None:
        """Report at once."""
        self._due.set()

    def note(self) -> None:
        """Report soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_NEWS_S, self._ring)

    async def run(self) -> None:
        """Report until stopped; then end the session.

        Not until cancelled: a client of the coordinator may turn that into an error of its own.
        """
        while not self._is_over:
            await self.exchange()
            await self._pause()
        await self._leave()

    def stop(self) -> None:
        """End `run`, after the report that is on its way."""
        self._is_over = True
        self._due.set()

    async def exchange(self) -> None:
        """Send one report and take in the reply."""
        self._due.clear()
        if not self._is_known:
            self._start_session()
        now = self._clock()
        self._number += 1
        report = self._book.collect(
            self._session,
            self._number,
            now,
            joins=not self._is_known,
            rejoins=self._sessions > 1,
        )
        try:
            async with asyncio.timeout(REPLY_S):
                reply = await self._coordinator.exchange(report)
            self._take_in(report, reply, now)
        except (Unreachable, TimeoutError) as error:
            self._fail(report, str(error).partition("\n")[0] or f"no reply in {REPLY_S:g} s")
        except (
            Exception
        ) as error:  # a fault of the coordinator must not stop this process's decisions
            logger.exception("The exchange with the coordinator of limits failed")
            self._fail(report, repr(error))

    def _take_in(self, report: Report, reply: Reply, sent_at: float) -> None:
        if not reply.is_known:
            self._is_known = False
            self._book.put_back(report)
            self.hurry()
            return
        self._is_known = True
        self._confirmed_at = sent_at
        self.reached.set()
        self._observer.reached(is_reached=True)
        if self._book.apply(report, reply, self._clock()):
            self.hurry()

    def _fail(self, report: Report, reason: str) -> None:
        """Go on by local limits, and report again. Idle units stay good until the lease ends."""
        self._book.put_back(report)
        now = self._clock()
        self.reached.clear()
        self._observer.reached(is_reached=False, reason=reason)
        self._book.settle_alone(now)
        if not self.is_leased(now):
            self._book.void()

    def _start_session(self) -> None:
        self._sessions += 1
        self._session = f"{self._process}.{self._sessions}"
        if self._listening is not None:
            self._listening.cancel()
        self._listening = asyncio.create_task(self._listen(self._session))

    async def _listen(self, session: str) -> None:
        """Report whenever the coordinator asks for it, while the session lasts."""
        while session == self._session:
            try:
                await self._coordinator.woken(session)
                self.hurry()
            except Unreachable:
                self.hurry()  # to learn whether the coordinator is lost
                await asyncio.sleep(RETRY_S)

    async def _pause(self) -> None:
        """Wait until the next report is due."""
        now = self._clock()
        if now - self._tidied_at > _TIDY_S:
            self._tidied_at = now
            self._book.forget(now)
            self._book.tidy(now)
        pause_s = 0.0 if self._is_over else HEARTBEAT_S
        if not self.reached.is_set():
            pause_s = RETRY_S
        elif self._book.is_urgent:
            pause_s = _AGAIN_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._due.wait()

    def _ring(self) -> None:
        self._timer = None
        self._due.set()

    async def _leave(self) -> None:
        """End the session, so that its units return at once."""
        if self._timer is not None:
            self._timer.cancel()
        self._number += 1
        report = Report(self._session, self._number, False, False, True, (), ())
        self._session = ""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening}, timeout=REPLY_S)
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(REPLY_S):
                await self._coordinator.exchange(report)
        self.reached.clear()
        await self._coordinator.close()
