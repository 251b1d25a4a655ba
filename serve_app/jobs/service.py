"""The service of jobs, on which HTTP routes and dialects stand."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from serve_app.errors import QueueFull
from serve_app.gateway.estimate import remaining_s
from serve_app.gateway.service import GenerationService
from serve_app.jobs.acceptance import Acceptance
from serve_app.jobs.description import Estimate, JobDescription
from serve_app.jobs.errors import IdempotencyMismatch, JobNotFound, ResultsUnavailable
from serve_app.jobs.files import JobFile, file_of, signed_file
from serve_app.jobs.ids import is_id, new_id
from serve_app.jobs.intake import Submission
from serve_app.jobs.job import Job, JobStatus, NewJob
from serve_app.jobs.links import Links
from serve_app.jobs.results import ResultStore
from serve_app.jobs.store import JobStore
from serve_app.model_status import ReplicaStatus

logger = logging.getLogger(__name__)

HEARTBEAT_S = 15.0  # between signs of life in a stream of changes
_SHORTEST_POLL_S = 0.05
_LONGEST_POLL_S = 0.5
_LONGER = 1.4  # from poll to poll without a change
_UPLOAD_TYPE = "application/octet-stream"
_UNCLAIMED_S = 3600.0  # until an upload that no job names is erased


@dataclass(frozen=True)
class JobService:
    """Accepts jobs, tells their state and files, and ends them.

    A job is visible to its owner alone: for others it does not exist. All methods raise
    ServeAppErrors. added: called with each job that is accepted, so that a worker need not wait.
    """

    store: JobStore
    results: ResultStore
    acceptance: Acceptance
    links: Links
    added: Callable[[Job], None] | None = None

    @property
    def generation(self) -> GenerationService:
        return self.acceptance.generation

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        """Accept a job; return it and whether it is new.

        A repeated idempotency key returns the job of the first time, whatever has changed since.
        """
        key = submission.idempotency_key
        earlier = await self.repeated(submission.owner, key, submission.body_sha256)
        if earlier is not None:
            return earlier, False
        request = await self.acceptance.check(submission)
        audio_prompt = await self._store_upload(submission.audio_prompt)
        melody = await self._store_upload(submission.melody)
        config = self.acceptance.config
        new_job = NewJob(
            owner=submission.owner,
            request=request.model_copy(update={"audio_prompt": audio_prompt, "melody": melody}),
            kept_s=submission.expires_in_s or config.kept_s,
            priority=submission.priority,
            metadata=submission.metadata,
            details=submission.details,
            webhook=submission.webhook,
            upload=submission.upload,
            deadline_s=submission.deadline_s,
            idempotency_key=submission.idempotency_key,
            body_sha256=submission.body_sha256,
        )
        return await self._add(new_job)

    async def repeated(self, owner: str, key: str | None, body_sha256: str) -> Job | None:
        """Find the job that an earlier request made with this idempotency key.

        Raises IdempotencyMismatch.
        """
        return None if key is None else await self.store.repeated(owner, key, body_sha256)

    async def get(self, owner: str, job_id: str) -> Job:
        """Find a job. Raises JobNotFound."""
        job = await self.store.get(owner, job_id) if is_id(job_id) else None
        return _found(job, job_id)

    async def page(
        self, owner: str, status: JobStatus | None, before: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """List jobs, the newest first; return with them the cursor of the next page, if any."""
        jobs = await self.store.page(owner, status, before, limit + 1)
        has_more = len(jobs) > limit
        return jobs[:limit], jobs[limit - 1].id if has_more else None

    async def wait(self, job: Job, timeout_s: float) -> Job:
        """Wait for the end of a job; return its state after `timeout_s` seconds at the latest.

        Raises JobNotFound once the job is deleted.
        """
        deadline = monotonic() + timeout_s
        poll_s = _SHORTEST_POLL_S
        while not job.status.is_final and (left_s := deadline - monotonic()) > 0:
            await asyncio.sleep(min(poll_s, left_s))
            poll_s = min(_LONGEST_POLL_S, poll_s * _LONGER)
            job = await self.get(job.owner, job.id)
        return job

    async def changes(
        self, owner: str, job_id: str, after: int, heartbeat_s: float = HEARTBEAT_S
    ) -> AsyncIterator[Job | None]:
        """Yield each state of a job with a version above `after`, up to a final one.

        None: nothing has changed for `heartbeat_s`. Ends without a word once the job is deleted.
        """
        poll_s = _SHORTEST_POLL_S
        quiet_since = monotonic()
        while (job := await self.store.get(owner, job_id)) is not None:
            changed = job.version > after
            if changed or monotonic() - quiet_since >= heartbeat_s:
                yield job if changed else None
                quiet_since = monotonic()
            if job.status.is_final:
                return
            after = max(after, job.version)
            poll_s = _SHORTEST_POLL_S if changed else min(_LONGEST_POLL_S, poll_s * _LONGER)
            await asyncio.sleep(poll_s)

    async def describe(self, job: Job) -> JobDescription:
        """Describe a job with its place in the queue and an estimate of its end."""
        return JobDescription.of(job, self.links, await self.estimate(job))

    async def estimate(self, job: Job) -> Estimate:
        """Estimate the place of an unfinished job and the seconds until its end."""
        if job.status.is_final:
            return Estimate()
        place = await self.store.place(job)
        card = next(
            (one for one in self.generation.router.cards if one.model_id == job.request.model), None
        )
        replicas = [] if card is None else await self.generation.readiness.known_replicas(card)
        if place is None:
            return Estimate(None, _running_s(replicas, job))
        ahead = place.position - 1
        earlier = [place.audio_s / max(1, ahead)] * ahead
        eta_s = remaining_s(replicas, [*earlier, job.request.duration_s])
        return Estimate(place.position, eta_s)

    async def cancel(self, owner: str, job_id: str) -> Job:
        """Cancel a job, or ask a running one to stop. Raises JobNotFound."""
        job = await self.store.cancel(owner, job_id) if is_id(job_id) else None
        return _found(job, job_id)

    async def delete(self, owner: str, job_id: str) -> None:
        """Erase a job with its prompt, its uploads and its audio. Raises JobNotFound.

        Files that cannot be reached are erased by later sweeps; nothing leads to them meanwhile.
        """
        keys = await self.store.delete(owner, job_id) if is_id(job_id) else None
        if keys is None:
            raise JobNotFound(f"There is no job '{job_id[:64]}' of this API key")
        await self._erase(keys)

    async def file(self, owner: str, job_id: str, number: int) -> JobFile:
        """Find a file of a job.

        Raises JobNotFound, JobNotFinished, JobHasNoResult and ResultExpired.
        """
        return await file_of(self.results, await self.get(owner, job_id), number)

    async def linked_file(self, job_id: str, number: int, token: str) -> JobFile:
        """Find the file of a signed link. Raises Unauthorized and ResultExpired."""
        return await signed_file(self.store, self.results, self.links, (job_id, number), token)

    async def redeliver(self, owner: str, job_id: str) -> int:
        """Send the job's webhooks again, with their ids; return their number. Raises JobNotFound."""
        await self.get(owner, job_id)
        return await self.store.redeliver(owner, job_id)

    async def _store_upload(self, content: bytes | None) -> str | None:
        """Store an upload; return its key.

        Its erasure is noted first. The transaction that adds the job takes the note back, so that a
        request which ends anywhere between leaves neither a file without a job nor the opposite.
        """
        if content is None:
            return None
        key = f"inputs/{new_id()}"
        await self.store.erase_later((key,), _UNCLAIMED_S)
        await self.results.put(key, content, _UPLOAD_TYPE)
        return key

    async def _add(self, job: NewJob) -> tuple[Job, bool]:
        """Add the row. The uploads of a job that is refused are erased at once."""
        try:
            added, is_new = await self.store.add(job, self.acceptance.config.max_queued)
        except (QueueFull, IdempotencyMismatch):
            await self._erase(job.request.uploads)
            raise
        if not is_new:
            await self._erase(job.request.uploads)
        if is_new and self.added is not None:
            self.added(added)
        return added, is_new

    async def _erase(self, keys: Iterable[str]) -> None:
        """Erase files whose erasure is noted: those that cannot be reached are left to the sweeps."""
        for key in keys:
            try:
                await self.results.delete(key)
            except ResultsUnavailable as error:
                logger.warning("Files of a job wait for their erasure: %s", error.message)
                return


def _found(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise JobNotFound(f"There is no job '{job_id[:64]}' of this API key")
    return job


def _running_s(replicas: list[ReplicaStatus], job: Job) -> float | None:
    """Estimate the seconds that a running job still takes; its tracks are made together."""
    left = 1.0 - min(1.0, job.progress)
    return remaining_s(replicas, [job.request.duration_s * left])
