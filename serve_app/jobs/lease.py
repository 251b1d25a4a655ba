"""The lease of a running job, kept by a heartbeat until it is lost or a cancel is asked for."""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from time import monotonic

from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.job import Claim, JobStatus
from serve_app.jobs.store import JobStore, NewDelivery, Progressed

logger = logging.getLogger(__name__)

PULSE_S = 0.4  # between two looks at the job
_PROGRESS_S = 1.0  # between two heartbeats that only tell progress


class Loss(StrEnum):
    """Reasons why work on a job stops early."""

    LOST = "lost"
    ERASED = "erased"
    CANCELED = "canceled"


class Lease:
    """Keeps the lease of a claim.

    progress: returns the present progress; messages: returns the webhooks that are due with it.
    """

    def __init__(
        self,
        store: JobStore,
        claim: Claim,
        lease_s: float,
        progress: Callable[[], Progressed],
        messages: Callable[[Progressed], tuple[NewDelivery, ...]],
    ) -> None:
        self._store = store
        self._claim = claim
        self._lease_s = lease_s
        self._progress = progress
        self._messages = messages
        self._told: Progressed | None = None
        self._told_at = monotonic()

    async def keep(self) -> Loss:
        """Look at the job every PULSE_S; return once work on it has to stop.

        The lease counts as lost when the store has been out of reach for its whole length.
        """
        while True:
            await asyncio.sleep(PULSE_S)
            try:
                loss = await self._beat() if self._is_due() else await self._look()
            except JobStoreUnavailable as error:
                logger.warning("Job %s keeps its lease for now: %s", self._claim.job.id, error)
                loss = Loss.LOST if self._age_s() >= self._lease_s else None
            if loss is not None:
                return loss

    def _age_s(self) -> float:
        """Seconds since the lease was extended."""
        return monotonic() - self._told_at

    def _is_due(self) -> bool:
        has_moved = self._progress() != self._told
        return self._age_s() >= (
            min(_PROGRESS_S, self._lease_s / 4) if has_moved else self._lease_s / 4
        )

    async def _beat(self) -> Loss | None:
        done = self._progress()
        began = monotonic()
        asked = await self._store.heartbeat(self._claim, done, self._lease_s, self._messages(done))
        if asked is None:
            return await self._look() or Loss.LOST
        self._told = done
        self._told_at = began
        return Loss.CANCELED if asked else None

    async def _look(self) -> Loss | None:
        """Read the job, which costs the database less than a heartbeat."""
        held = self._claim.job
        job = await self._store.get(held.owner, held.id)
        if job is None:
            return Loss.ERASED
        if (job.status, job.attempt) != (JobStatus.RUNNING, held.attempt):
            return Loss.LOST
        return Loss.CANCELED if job.cancel_requested else None
