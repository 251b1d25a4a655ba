"""Ingress replicas of a test, which share one coordinator."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.coordinator import Coordinator, Unreachable
from serve_app.gateway.permits.keeper import LeaseKeeper
from serve_app.gateway.permits.messages import Reply, Report
from serve_app.gateway.permits.observer import LogPermitObserver, Source
from serve_app.gateway.permits.permits import Permits

_PATIENCE_S = 20.0


class Connection:
    """A coordinator as one ingress replica reaches it. is_cut: no report arrives any more."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.is_cut = False
        self.loses_reply = False
        self.exchanges = 0

    async def exchange(self, report: Report) -> Reply:
        if self.is_cut:
            raise Unreachable
        self.exchanges += 1
        reply = await self.coordinator.exchange(report)
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
        self.permits = Permits(self.connection, self.observer)

    async def accepts(self, allowance: Allowance, amount: int = 1) -> bool:
        """Take units; tell whether there were enough."""
        try:
            await self.permits.take(Want(allowance, amount))
        except Shortage:
            return False
        return True

    async def until_accepted(self, allowance: Allowance, amount: int = 1) -> None:
        """Ask until there are enough units. Raises TimeoutError."""
        async with asyncio.timeout(_PATIENCE_S):
            while not await self.accepts(allowance, amount):  # noqa: ASYNC110 - others are asked
                await asyncio.sleep(0.02)

    async def until_refused(self, allowance: Allowance, amount: int = 1) -> None:
        """Ask until there are too few units. Raises TimeoutError."""
        async with asyncio.timeout(_PATIENCE_S):
            while await self.accepts(allowance, amount):  # noqa: ASYNC110 - others are asked
                await asyncio.sleep(0.02)

    def give_back(self, allowance: Allowance, amount: int = 1) -> None:
        self.permits.give_back(Want(allowance, amount))

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


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for a condition. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the state of others is awaited
            await asyncio.sleep(0.005)
