"""Housekeeping of the store: lost workers, deadlines, retention, and counts for metrics."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from serve_app.config.jobs import JobsConfig
from serve_app.jobs.errors import JobStoreUnavailable, ResultsUnavailable
from serve_app.jobs.job_run import Announcing
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.results import ResultStore
from serve_app.jobs.store import JobStore

logger = logging.getLogger(__name__)

_SWEEP_S = 60.0
_ERASE_AGAIN_S = 3600.0  # after a file could not be erased
_COUNT_S = 5.0
_LONGEST_REAP_S = 5.0


class Housekeeping:
    """Tasks that any number of ingress replicas may do on the same store at a time."""

    def __init__(
        self,
        store: JobStore,
        results: ResultStore,
        announcer: Announcing,
        observer: JobObserver,
        config: JobsConfig,
    ) -> None:
        self._store = store
        self._results = results
        self._announcer = announcer
        self._observer = observer
        self._config = config

    async def run(self) -> None:
        """Work until cancelled."""
        reap_s = min(self._config.lease_s / 3, _LONGEST_REAP_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(self.reap, reap_s))
            group.create_task(_repeat(self.sweep, _SWEEP_S))
            group.create_task(_repeat(self.count, _COUNT_S))

    async def reap(self) -> None:
        """Take jobs from lost workers, end those past their deadline, and tell of ends, once each."""
        for job in await self._store.reap(self._config.max_attempts):
            if await self._store.announce(job, self._announcer.deliveries(job, "completed")):
                self._observer.ended(job)

    async def sweep(self) -> None:
        """Expire results and old rows, and erase the files that are due, until none is left."""
        while keys := await self._store.sweep(self._config.row_kept_s):
            kept = [key for key in keys if not await self._erased(key)]
            if kept:  # their notes may have been the last ones
                await self._store.erase_later(tuple(kept), _ERASE_AGAIN_S)

    async def _erased(self, key: str) -> bool:
        try:
            await self._results.delete(key)
        except ResultsUnavailable as error:
            logger.warning("A file of results waits for its erasure: %s", error.message)
            return False
        return True

    async def count(self) -> None:
        """Count the store for metrics."""
        self._observer.seen(await self._store.stats())


async def _repeat(task: Callable[[], Awaitable[None]], period_s: float) -> None:
    """Repeat a task, at once and then every `period_s`, less up to a quarter. It may fail."""
    while True:
        try:
            await task()
        except (JobStoreUnavailable, ResultsUnavailable) as error:
            logger.warning("Housekeeping of jobs waits: %s", error.message)
        except Exception:
            logger.exception("Housekeeping of jobs met an unexpected error")
        await asyncio.sleep(period_s * random.uniform(0.75, 1.0))
