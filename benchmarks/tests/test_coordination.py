"""The line of the benchmark of coordination, kept by a ledger of this process."""

import math

from benchmarks.coordination import LINE_COLUMNS, long_line
from serve_app.gateway.permits.ledger import Ledger
from serve_app.gateway.permits.messages import Reply, Report


class Here:
    """A coordinator without a way to it. longest: requests of its line at most."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.longest = 0

    async def exchange(self, report: Report) -> Reply:
        reply = self.ledger.exchange(report)
        self.longest = max(self.longest, *(line.count for line in reply.lines), 0)
        return reply

    async def woken(self, session: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


async def test_the_line_is_as_long_as_asked_for_and_empty_in_the_end() -> None:
    here = Here()
    figures = await long_line(here, 700)
    assert tuple(figures) == LINE_COLUMNS
    assert all(0 < took_ms < math.inf for took_ms in figures.values())
    assert here.longest == 700
    assert not here.ledger.has_sessions
