"""The replicas' statuses as this process last saw them: one call at a time for any number of readers."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic

from serve_app.model_status import ReplicaStatus

FRESH_S = 0.5  # age from which a view is read anew, beside its readers
RECENT_S = 1.0  # age from which a reader waits for the answer

Ask = Callable[[], Awaitable[list[ReplicaStatus]]]


class FleetView:
    """The replicas of one model.

    ask: calls every replica. Readers share its calls: at most one is in flight. An empty answer is
    not kept: the next reader asks again, so that a model counts as ready at once.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._replicas: list[ReplicaStatus] = []
        self._asked_at = -math.inf  # when the call began whose answer is kept
        self._in_flight = asyncio.Lock()
        self._refresh: asyncio.Task[list[ReplicaStatus]] | None = None
        self._losses = 0

    async def read(self) -> list[ReplicaStatus]:
        """Return an answer to a call that began after this one."""
        called_at = monotonic()
        async with self._in_flight:
            if self._replicas and self._asked_at > called_at:
                return self._replicas
            return await self._call()

    async def recent(self, max_age_s: float = RECENT_S) -> list[ReplicaStatus]:
        """Return an answer of at most `max_age_s`; one of FRESH_S is read anew beside its readers."""
        if not self._is_within(max_age_s):
            return await self._shared(max_age_s)
        if not self._is_within(FRESH_S):
            self._begin_refresh()
        return self._replicas

    def forget(self) -> None:
        """Drop the kept answer, and that of a call in flight: a replica was lost."""
        self._losses += 1
        self._replicas = []

    async def _shared(self, max_age_s: float) -> list[ReplicaStatus]:
        async with self._in_flight:
            return self._replicas if self._is_within(max_age_s) else await self._call()

    async def _call(self) -> list[ReplicaStatus]:
        asked_at = monotonic()
        losses = self._losses
        replicas = await self._ask()
        if losses == self._losses:
            self._asked_at = asked_at
            self._replicas = replicas
        return replicas

    def _begin_refresh(self) -> None:
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._shared(FRESH_S))

    def _is_within(self, age_s: float) -> bool:
        return bool(self._replicas) and monotonic() - self._asked_at < age_s
