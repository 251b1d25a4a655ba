"""Times of jobs: the database's clock in this process, and how their JSON tells them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import monotonic, time


class StoreClock:
    """The database's clock, as it was read last and as this process has counted since then.

    The clocks of nodes may differ: what one of them signs, another one checks. Before the first
    reading it is the clock of this machine.
    """

    def __init__(self) -> None:
        self._ahead_s = time() - monotonic()

    def __call__(self) -> float:
        """Tell the Unix time."""
        return monotonic() + self._ahead_s

    async def read(self, now: Callable[[], Awaitable[float]]) -> None:
        """Read the database's clock. now: tells its Unix time."""
        began = monotonic()
        told = await now()
        self._ahead_s = told - (began + monotonic()) / 2


def iso(unix_time: float | None) -> str | None:
    """Render a Unix time in UTC (RFC 3339) with milliseconds; None stays None."""
    if unix_time is None:
        return None
    moment = datetime.fromtimestamp(unix_time, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
