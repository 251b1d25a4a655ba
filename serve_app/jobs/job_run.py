"""Work on one claim: an attempt under a lease, and the record of how it ended."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Protocol, TypeVar

from serve_app.config.jobs import JobsConfig
from serve_app.errors import (
    DeadlineExceeded,
    ModelLoading,
    ModelNotFound,
    ModelUnplaceable,
    QueueFull,
    RateLimited,
    ServeAppError,
)
from serve_app.jobs.attempt import Attempt, cost_of
from serve_app.jobs.errors import JobStoreUnavailable, ResultsUnavailable
from serve_app.jobs.job import Claim, EventName, Job, JobStatus, Outcome, ResultFile
from serve_app.jobs.lease import Lease, Loss
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.results import ResultStore, result_key
from serve_app.jobs.store import JobStore, NewDelivery, Progressed

logger = logging.getLogger(__name__)

T = TypeVar("T")
_STORE_PAUSE_S = 0.5
_RETRY_S = 2.0  # before the second attempt; doubled for each later one
_WAIT_S = 5.0  # before a job that the service has no room for is tried again
_ABSENT_S = 60.0  # before a job for a model that is not served is: the service may be updated
# Errors that say nothing of the job: its attempt does not count.
_BUSY = (QueueFull, RateLimited, ModelLoading, ModelUnplaceable)


class Announcing(Protocol):
    """Writer of webhooks' messages."""

    def deliveries(self, job: Job, event: EventName) -> tuple[NewDelivery, ...]:
        """Write the messages of an event; none where the job asks for none."""
        ...


class JobRun:
    """Works on one claim of `store` until the job has ended, was returned, or its lease is lost.

    refusal: of the limits of the job's key, which returned the job.
    """

    def __init__(
        self,
        claim: Claim,
        attempt: Attempt,
        store: JobStore,
        results: ResultStore,
        announcer: Announcing,
        observer: JobObserver,
        config: JobsConfig,
    ) -> None:
        self._claim = claim
        self._job = claim.job
        self._attempt = attempt
        self._store = store
        self._results = results
        self._announcer = announcer
        self._observer = observer
        self._config = config
        self._began_at = monotonic()
        self._announced_at = self._began_at
        self.refusal: RateLimited | None = None

    @property
    def owner(self) -> str:
        return self._job.owner

    async def run(self) -> None:
        """Work until the end. Cancelling it returns the job to the queue, and counts no attempt."""
        lease = Lease(
            self._store, self._claim, self._config.lease_s, self._progress, self._due_messages
        )
        making = asyncio.create_task(self._attempt.make())
        keeping = asyncio.create_task(lease.keep())
        telling = asyncio.create_task(self._tell_start())
        try:
            await asyncio.wait({making, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                if self._attempt.begun.is_set():
                    await asyncio.wait({telling})
                await self._end(making)
                return
            await _stop(making)
            await self._give_up(keeping.result())
        except asyncio.CancelledError:
            await _stop(making)
            await self._release("stopped", 0.0, counts=False)
            raise
        finally:
            await _stop(making)
            await _stop(keeping)
            await _stop(telling)

    def _now(self) -> float:
        """Tell the Unix time by the database's clock, which dated the claim."""
        return (self._job.started_at or 0.0) + monotonic() - self._began_at

    def _progress(self) -> Progressed:
        return self._attempt.progress

    async def _tell_start(self) -> None:
        """Tell of the start with the first audio, and write its webhook where the job asks for one."""
        await self._attempt.begun.wait()
        self._observer.started(self._job)
        messages = self._announcer.deliveries(self._job, "started")
        if messages:
            done = self._progress()
            with contextlib.suppress(JobStoreUnavailable):
                await self._store.heartbeat(self._claim, done, self._config.lease_s, messages)

    def _due_messages(self, done: Progressed) -> tuple[NewDelivery, ...]:
        """Write the webhooks of progress, unless the last ones are too recent."""
        if monotonic() - self._announced_at < self._config.webhooks.progress_interval_s:
            return ()
        self._announced_at = monotonic()
        job = replace(self._job, progress=done.progress, audio_s=done.audio_s)
        return self._announcer.deliveries(job, "progress")

    async def _end(self, making: "asyncio.Task[tuple[ResultFile, ...]]") -> None:
        """Record the end of an attempt that was not interrupted."""
        try:
            results = making.result()
        except ServeAppError as error:
            await self._end_with(error)
        except Exception:
            logger.exception("Job %s met an unexpected error", self._job.id)
            await self._fail(ServeAppError("The job met an unexpected error, which is in the log."))
        else:
            await self._finish(Outcome(JobStatus.SUCCEEDED, results, cost_usd=cost_of(results)))

    async def _end_with(self, error: ServeAppError) -> None:
        """Return the job to the queue where another attempt may succeed, else fail it."""
        if isinstance(error, _BUSY):
            self.refusal = error if isinstance(error, RateLimited) else None
            delay_s = error.retry_after_s or _WAIT_S
            await self._return(error.code, delay_s * random.uniform(1.0, 1.5), counts=False)
            return
        absent = isinstance(error, ModelNotFound)
        may_succeed = error.retryable and not isinstance(error, DeadlineExceeded)
        if not (may_succeed or absent) or self._job.attempt >= self._config.max_attempts:
            await self._fail(error)
            return
        delay_s = _ABSENT_S if absent else _RETRY_S * 2 ** (self._job.attempt - 1)
        await self._return(error.code, delay_s * random.uniform(0.5, 1.5), counts=True)

    async def _fail(self, error: ServeAppError) -> None:
        await self._finish(Outcome(JobStatus.FAILED, error=error.problem_details))

    async def _give_up(self, loss: Loss) -> None:
        """Stop early: end a canceled job; leave a lost one to its new worker, an erased one to nobody."""
        if loss is Loss.CANCELED:
            await self._finish(Outcome(JobStatus.CANCELED))
            return
        await self._erase()
        self._tell_loss(was_erased=loss is Loss.ERASED)

    def _tell_loss(self, *, was_erased: bool) -> None:
        if was_erased:
            self._observer.erased(self._job)
        else:
            self._observer.returned(self._job, "lost")

    async def _finish(self, outcome: Outcome) -> None:
        """Record the end with its webhooks. Files that no row names are erased."""
        made_s = sum(result.duration_s for result in outcome.results)
        done = self._progress()
        succeeded = outcome.status is JobStatus.SUCCEEDED
        job = replace(
            self._job,
            status=outcome.status,
            results=outcome.results,
            error=outcome.error,
            cost_usd=outcome.cost_usd,
            finished_at=self._now(),
            progress=1.0 if succeeded else done.progress,
            audio_s=made_s if succeeded else done.audio_s,
        )
        messages = self._announcer.deliveries(job, "completed")
        try:
            ended = await self._try(lambda: self._store.finish(self._claim, outcome, messages))
            kept = ended or await self._try(lambda: self._store.get(job.owner, job.id))
        except JobStoreUnavailable:
            return  # whether the end was recorded is not known
        if ended is not None:
            self._observer.ended(ended)
        if ended is None or not succeeded:
            await self._erase()
        if ended is None:
            self._tell_loss(was_erased=kept is None)

    async def _return(self, reason: str, delay_s: float, *, counts: bool) -> None:
        """Return the job to the queue, without the files of this attempt."""
        await self._erase()
        await self._release(reason, delay_s, counts=counts)

    async def _release(self, reason: str, delay_s: float, *, counts: bool) -> None:
        self._observer.returned(self._job, reason)
        with contextlib.suppress(JobStoreUnavailable):
            await self._try(lambda: self._store.release(self._claim, delay_s, counts=counts))

    async def _erase(self) -> None:
        """Erase the files of this attempt. What cannot be erased now, a later sweep does."""
        wanted = self._job.request
        for index in range(wanted.n):
            key = result_key(self._job.id, self._job.attempt, index, wanted.response_format)
            with contextlib.suppress(ResultsUnavailable):
                await self._results.delete(key)

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the store until it answers, for as long as a lease lasts.

        Raises JobStoreUnavailable.
        """
        began = monotonic()
        while True:
            try:
                return await call()
            except JobStoreUnavailable as error:
                if monotonic() - began >= self._config.lease_s:
                    logger.error("Job %s is left to its lease: %s", self._job.id, error)
                    raise
                await asyncio.sleep(_STORE_PAUSE_S)


async def _stop(task: "asyncio.Task[T]") -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # it has been handled, or came too late
