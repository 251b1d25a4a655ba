"""Room for the tracks of jobs in the replicas of one model."""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Iterable
from time import monotonic

from serve_app.gateway.estimate import pace_s
from serve_app.model_status import EngineStats, ReplicaStatus

_AHEAD = 2  # jobs of a loaded model that are claimed before there is a place for them
_SLOWDOWN = 1.25  # of steps, while there are interactive requests
_RECENT_S = 30.0  # for which a model counts as used interactively
_COLD = 1  # job that is claimed for a model without a replica, so that it gets one


def places_for_jobs(replicas: Iterable[ReplicaStatus], own: int, yields: bool = False) -> int:
    """Count the places that one worker may fill with tracks of jobs.

    own: tracks that it has in replicas; yields: whether steps are to stay nearly as quick as those
    of an interactive request alone. One slot of each replica stays free for an interactive request,
    except of a replica that has a single one.
    """
    states = [replica.stats for replica in replicas]
    if not states:
        return _COLD
    places = sum(_places(state, yields) for state in states)
    others = sum(state.background_requests for state in states) - own
    return max(0, places - max(0, others))


def interactive(stats: EngineStats) -> int:
    """Count the interactive requests in a replica."""
    return stats.slots_used + stats.queued_requests - stats.background_requests


def quick_batch(stats: EngineStats) -> int:
    """Find the largest batch whose steps take at most _SLOWDOWN times as long as those of one track."""
    most_s = _SLOWDOWN * stats.lone_pace_s
    return next((n for n in range(stats.slots, 1, -1) if pace_s(stats, n) <= most_s), 1)


def _places(stats: EngineStats, yields: bool) -> int:
    held = interactive(stats)
    free = max(1, stats.slots - 1) - held
    if yields:
        free = min(free, max(1, quick_batch(stats) - max(1, held)))
    return max(0, free)


class Room:
    """Places for one model's tracks, first come, first served.

    patience_s: after which a track goes on without a place, so that jobs cannot starve.
    Jobs fill the slots but one. Once there has been an interactive request, they take for _RECENT_S
    no more of them than leave its steps nearly as quick as alone.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._ahead = 0
        self._limit = 0
        self._taken = 0
        self._shared_at = -math.inf
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._expected: set[str] = set()

    @property
    def is_wanted(self) -> bool:
        """Whether tracks wait for a place."""
        return bool(self._waiting)

    @property
    def claimable(self) -> int:
        """Number of jobs to claim: one for each free place, and few that wait for the next."""
        held = self._taken + len(self._waiting) + len(self._expected)
        return max(0, self._limit + self._ahead - held)

    def expect(self, job_id: str) -> None:
        """Count a claimed job until its first track asks for a place, or until it ends before."""
        self._expected.add(job_id)

    def arrived(self, job_id: str) -> None:
        """No longer count a job by itself. Idempotent."""
        self._expected.discard(job_id)

    def measure(self, replicas: list[ReplicaStatus]) -> None:
        """Take the replicas' state into account."""
        if any(interactive(replica.stats) > 0 for replica in replicas):
            self._shared_at = monotonic()
        yields = monotonic() - self._shared_at < _RECENT_S
        self._ahead = _AHEAD if replicas else 0
        self._limit = places_for_jobs(replicas, self._taken, yields)
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
