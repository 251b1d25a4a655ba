"""A ledger in one process, which wakes the sessions of others."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from time import monotonic

from serve_app.gateway.permits.ledger import Ledger
from serve_app.gateway.permits.messages import Reply, Report

_WAIT_S = 10.0  # after which `woken` returns without a reason


class LedgerHost:
    """The Coordinator of sessions that reach this object. is_restarted: as of Ledger."""

    def __init__(
        self, clock: Callable[[], float] = monotonic, *, is_restarted: bool = False
    ) -> None:
        self._ledger = Ledger(clock, is_restarted=is_restarted)
        self._bells: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @property
    def has_sessions(self) -> bool:
        return self._ledger.has_sessions

    async def exchange(self, report: Report) -> Reply:
        """Take in a session's report, and wake others where that frees or needs units."""
        reply = self._ledger.exchange(report)
        for session in self._ledger.take_woken():
            self._bells[session].set()
        return reply

    async def woken(self, session: str) -> None:
        """Wait until the session should report."""
        bell = self._bells[session]
        try:
            async with asyncio.timeout(_WAIT_S):
                await bell.wait()
            bell.clear()
        except TimeoutError:
            pass
        if not self._ledger.is_known(session):
            self._bells.pop(session, None)

    async def close(self) -> None:
        """Do nothing: the ledger outlives its sessions."""
