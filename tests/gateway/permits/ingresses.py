"""Ingress replicas of a test, which share one coordinator."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from time import monotonic

from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.coordinator import Coordinator, Unreachable
from serve_app.gateway.permits.keeper import LeaseKeeper
from serve_app.gateway.permits.messages import Reply, Report
from serve_app.gateway.permits.observer import LogPermitObserver, Source
from serve_app.gateway.permits.permits import Permits

PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long
_LONGEST_STEP_S = 0.1


class SteadyClock:
    """A clock in which the machine never stands still: it goes on by at most 0.1 s between two looks."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._seen = monotonic()

    def __call__(self) -> float:
        seen = monotonic()
        self._now += min(seen - self._seen, _LONGEST_STEP_S)
        self._seen = seen
        return self._now


steady_clock = SteadyClock()  # of all ingress replicas, and of their coordinator in this process


class Connection:
    """A coordinator as one ingress replica reaches it.

    is_cut: no report arrives any more; exchanges: when each report was sent, and its reply came;
    joined: reports of all that the replica holds.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.is_cut = False
        self.loses_reply = False
        self.exchanges: list[tuple[float, float]] = []
        self.joined = 0

    async def exchange(self, report: Report) -> Reply:
        if self.is_cut:
            raise Unreachable
        sent_at = monotonic()
        reply = await self.coordinator.exchange(report)
        self.exchanges.append((sent_at, monotonic()))
        self.joined += report.joins
        if self.loses_reply:
            self.loses_reply = False
            raise Unreachable
        return reply

    async def woken(self, session: str) -> None:
        if self.is_cut:
            raise Unreachable
        await self.coordinator.woken(session)

    async def close(self) -> None:
        await self.coordinator.close()


class Sources(LogPermitObserver):
    """Records the sources of decisions."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[Source] = []

    def decided(self, source: Source) -> None:
        self.sources.append(source)


class IngressReplica:
    """Permits of one ingress replica."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.connection = Connection(coordinator)
        self.observer = Sources()
        self.permits = Permits(self.connection, self.observer, steady_clock)

    async def accepts(self, allowance: Allowance, amount: int = 1) -> bool:
        """Take units; tell whether there were enough."""
        try:
            await self.permits.take(Want(allowance, amount))
        except Shortage:
            return False
        return True

    async def until_accepted(self, allowance: Allowance, amount: int = 1) -> None:
        """Ask until there are enough units. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.accepts(allowance, amount):  # noqa: ASYNC110 - others are asked
                await asyncio.sleep(0.02)

    async def until_refused(self, allowance: Allowance, amount: int = 1) -> None:
        """Ask until there are too few units. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.accepts(allowance, amount):  # noqa: ASYNC110 - others are asked
                await asyncio.sleep(0.02)

    def give_back(self, allowance: Allowance, amount: int = 1) -> None:
        self.permits.give_back(Want(allowance, amount))

    def reported_at(self, since: float) -> float:
        """Tell when the coordinator had replied to a report of this time or later; inf: not yet."""
        replies = [replied for sent, replied in self.connection.exchanges if sent >= since]
        return min(replies, default=math.inf)

    async def report(self) -> None:
        """Report all that has changed. Raises TimeoutError."""
        now = monotonic()
        self.keeper.hurry()
        await until(lambda: self.reported_at(now) < math.inf)

    @property
    def keeper(self) -> LeaseKeeper:
        assert self.permits._keeper is not None
        return self.permits._keeper


@contextlib.asynccontextmanager
async def ingresses(
    connect: Callable[[], Coordinator], count: int = 2
) -> AsyncIterator[list[IngressReplica]]:
    """Run ingress replicas."""
    replicas = [IngressReplica(connect()) for _ in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        for replica in replicas:
            await stack.enter_async_context(replica.permits.running())
        yield replicas


async def until(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait for a condition. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the state of others is awaited
            await asyncio.sleep(0.005)
