"""The time of a restarted ledger in which all sessions join again, whatever they were doing."""

import asyncio
import selectors
from typing import Any

import pytest

from serve_app.gateway.permits.keeper import LeaseKeeper
from serve_app.gateway.permits.lease_book import LeaseBook
from serve_app.gateway.permits.ledger import Ledger
from serve_app.gateway.permits.messages import (
    HEARTBEAT_S,
    LEASE_S,
    RECOVERY_S,
    REPLY_S,
    RETRY_S,
    Reply,
    Report,
)
from serve_app.gateway.permits.observer import LogPermitObserver

SETTLED_S = 10.0  # from a session's start; then it reports by its heartbeat
PHASES = 40  # moments of a session's period in which the ledger is lost


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop in which the time until the next timer passes at once."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        selector = selectors.DefaultSelector()
        self._select = selector.select
        selector.select = self._skip  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        return self._passed_s

    def _skip(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nobody waits for what never comes"
        self._passed_s += max(0.0, timeout)
        return self._select(0)


class LostLedger:
    """A ledger that is lost at a time, with all reports under way, and at once runs again, empty.

    latency_s: of each report, half of it until the ledger takes it in. joined_at: when the session
    had told the new ledger all that it holds.
    """

    def __init__(self, lost_at: float, latency_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost_at = lost_at
        self._latency_s = latency_s
        self._ledgers = [Ledger(self._loop.time), Ledger(self._loop.time, is_restarted=True)]
        self.joined_at: float | None = None

    @property
    def is_lost(self) -> bool:
        return self._loop.time() >= self._lost_at

    async def exchange(self, report: Report) -> Reply:
        is_lost = self.is_lost
        await asyncio.sleep(self._latency_s / 2)
        if self.is_lost != is_lost:
            await asyncio.sleep(2 * REPLY_S)
        reply = self._ledgers[is_lost].exchange(report)
        if is_lost and report.joins and self.joined_at is None:
            self.joined_at = self._loop.time()
        await asyncio.sleep(self._latency_s / 2)
        if self.is_lost != is_lost:
            await asyncio.sleep(2 * REPLY_S)
        return reply

    async def woken(self, session: str) -> None:
        assert session
        await asyncio.sleep(LEASE_S)

    async def close(self) -> None:
        pass


async def joined_after_s(phase_s: float, latency_s: float) -> float:
    """Lose the ledger of a session; return the seconds until it has joined the new one."""
    loop = asyncio.get_running_loop()
    lost_at = loop.time() + SETTLED_S + phase_s
    coordinator = LostLedger(lost_at, latency_s)
    keeper = LeaseKeeper(LeaseBook(), coordinator, LogPermitObserver(), loop.time)
    keeping = asyncio.create_task(keeper.run())
    while coordinator.joined_at is None:  # noqa: ASYNC110 - time is skipped
        await asyncio.sleep(0.01)
    keeper.stop()
    await keeping
    return coordinator.joined_at - lost_at


@pytest.mark.parametrize("latency_s", [0.05 * REPLY_S, 0.5 * REPLY_S, 0.95 * REPLY_S])
def test_every_session_joins_before_a_restarted_ledger_grants(latency_s: float) -> None:
    period_s = HEARTBEAT_S + latency_s
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        slowest_s = max(
            runner.run(joined_after_s(period_s * phase / PHASES, latency_s))
            for phase in range(PHASES)
        )
    assert HEARTBEAT_S / 2 < slowest_s <= RECOVERY_S


def test_a_session_whose_report_was_lost_takes_longer_than_a_heartbeat() -> None:
    assert HEARTBEAT_S < REPLY_S + RETRY_S < RECOVERY_S < LEASE_S
