"""Room for the tracks of jobs in the replicas of one model."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable
from time import monotonic

from serve_app.types import ReplicaStatus

_AHEAD = 2  # jobs of a loaded model that are claimed before there is a place for them
_COLD = 1  # job that is claimed for a model without a replica, so that it gets one


def places_for_jobs(replicas: Iterable[ReplicaStatus], own: int) -> int:
    """Count the places that one worker may fill with tracks of jobs.

    own: tracks that it has in replicas. One slot of each replica stays free for an interactive
    request, except of a replica that has a single one.
    """
    states = [replica.stats for replica in replicas]
    if not states:
        return _COLD
    places = sum(max(1, state.slots - 1) for state in states)
    background = sum(state.background_requests for state in states)
    interactive = sum(state.slots_used + state.queued_requests for state in states) - background
    others = max(0, background - own)
    return max(0, places - interactive - others)


class Room:
    """Places for one model's tracks, first come, first served.

    patience_s: after which a track goes on without a place, so that jobs cannot starve.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._ahead = 0
        self._limit = 0
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_wanted(self) -> bool:
        """Whether tracks wait for a place."""
        return bool(self._waiting)

    @property
    def claimable(self) -> int:
        """Number of jobs to claim: one for each free place, and few that wait for the next."""
        return max(0, self._limit + self._ahead - self._taken - len(self._waiting))

    def measure(self, replicas: list[ReplicaStatus]) -> None:
        """Take the replicas' state into account."""
        self._ahead = _AHEAD if replicas else 0
        self._limit = places_for_jobs(replicas, self._taken)
        self._pass_on()

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """Wait for a place, and hold it; yields the seconds of patience that are left."""
        began = monotonic()
        await self._take()
        try:
            yield max(0.0, self._patience_s - (monotonic() - began))
        finally:
            self._taken -= 1
            self._pass_on()

    async def _take(self) -> None:
        if self._taken < self._limit and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait({turn}, timeout=self._patience_s)
        except asyncio.CancelledError:
            if turn.done():
                self._taken -= 1
                self._pass_on()
            raise
        finally:
            if not turn.done():
                self._waiting.remove(turn)
        if not turn.done():  # out of patience
            self._taken += 1

    def _pass_on(self) -> None:
        while self._waiting and self._taken < self._limit:
            self._taken += 1
            self._waiting.popleft().set_result(None)
