"""The worker of one ingress replica: claims jobs while replicas have room for their tracks."""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Iterable
from time import monotonic

from serve_app.config.jobs import JobsConfig
from serve_app.gateway.readiness import Readiness
from serve_app.jobs.attempt import Attempt, Means
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.job import Claim, Job
from serve_app.jobs.job_run import Announcing, JobRun
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.owner_limits import OwnerLimits
from serve_app.jobs.room import Room
from serve_app.jobs.store import JobStore
from serve_app.model_status import ModelCard

logger = logging.getLogger(__name__)

_SHORTEST_POLL_S = 0.25
_LONGEST_POLL_S = 1.0
_NOTE_S = 2.0  # between two reports of the queue to a replica
_UNKNOWN = 1  # jobs that are claimed at a time for models that are not served


class Worker:
    """Works on the jobs of `store`, several at a time. Several workers may share the store.

    A worker looks for jobs every 0.25 to 1 s, and at once when it is nudged. It adds up the queue, which
    may be deep, no more often than every 0.25 s.
    """

    def __init__(
        self,
        store: JobStore,
        means: Means,
        announcer: Announcing,
        observer: JobObserver,
        config: JobsConfig,
    ) -> None:
        self._store = store
        self._means = means
        self._announcer = announcer
        self._observer = observer
        self._config = config
        self._cards = {card.model_id: card for card in means.service.router.cards}
        self._rooms = {model_id: Room(config.patience_s) for model_id in self._cards}
        self._owners = OwnerLimits()
        self._nudged = asyncio.Event()
        self._poll_s = _SHORTEST_POLL_S
        self._queued: dict[str, float] = {}
        self._added_up_at = -math.inf
        self._runs: set[asyncio.Task[None]] = set()
        self._noted_at: dict[str, float] = {}
        self._is_reachable = True

    def nudge(self) -> None:
        """Look for jobs at once: there may be room again."""
        self._nudged.set()

    def added(self, job: Job) -> None:
        """Look for jobs at once. Behind others of its model, one more changes little."""
        if job.request.model not in self._queued:
            self._added_up_at = -math.inf
        self.nudge()

    async def run(self) -> None:
        """Work until cancelled; then all jobs return to the queue, without counting the attempt."""
        try:
            while True:
                try:
                    await self._look()
                except Exception:
                    logger.exception("The worker of jobs met an unexpected error, and goes on")
                    self._poll_s = _LONGEST_POLL_S
                await self._pause()
        finally:
            for run in self._runs:
                run.cancel()
            await asyncio.gather(*self._runs, return_exceptions=True)

    async def _look(self) -> None:
        """Claim the jobs that there is room for, and start them."""
        self._nudged.clear()
        try:
            queued = await self._add_up()
            self._note(queued)
            await self._measure(queued)
            claims = await self._claim(self._room_for(queued))
        except JobStoreUnavailable as error:
            self._report(error)
            return
        self._is_reachable = True
        self._poll_s = _SHORTEST_POLL_S if queued else min(_LONGEST_POLL_S, 2 * self._poll_s)
        for claim in claims:
            self._start(claim)

    async def _add_up(self) -> dict[str, float]:
        """Read the queued seconds of music of each model, or return those of just now, if there were any."""
        now = monotonic()
        if not self._queued or now - self._added_up_at >= _SHORTEST_POLL_S:
            self._queued = await self._store.queued_audio_s()
            self._added_up_at = now
        return self._queued

    async def _claim(self, room: dict[str, int]) -> list[Claim]:
        if not any(room.values()):
            return []
        return await self._store.claim(room, self._config.lease_s, self._owners.bounds())

    def _report(self, error: JobStoreUnavailable) -> None:
        if self._is_reachable:
            logger.error("No jobs are claimed for now: %s", error.message)
        self._is_reachable = False
        self._poll_s = _LONGEST_POLL_S

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s * random.uniform(0.75, 1.0)):
                await self._nudged.wait()

    async def _measure(self, queued: Iterable[str]) -> None:
        """Look how much room the models have that are asked for."""
        for model_id, room in self._rooms.items():
            if model_id in queued or room.is_wanted:
                room.measure(await self._readiness.recent(self._cards[model_id]))

    @property
    def _readiness(self) -> Readiness:
        return self._means.service.readiness

    def _room_for(self, queued: Iterable[str]) -> dict[str, int]:
        """Count the jobs to claim of each model, within `max_running`."""
        left = self._left()
        room: dict[str, int] = {}
        for model_id in queued:
            known = self._rooms.get(model_id)
            room[model_id] = min(left, _UNKNOWN if known is None else known.claimable)
            left -= room[model_id]
        return room

    def _left(self) -> int:
        """Jobs that may be claimed by `max_running`."""
        if self._config.max_running is None:
            return 2**31
        return max(0, self._config.max_running - len(self._runs))

    def _start(self, claim: Claim) -> None:
        room = self._rooms.get(claim.job.request.model) or Room(self._config.patience_s)
        attempt = Attempt(claim.job, self._means, room)
        run = JobRun(
            claim,
            attempt,
            self._store,
            self._means.results,
            self._announcer,
            self._observer,
            self._config,
        )
        job_id = claim.job.id
        room.expect(job_id)
        task = asyncio.create_task(run.run())
        self._runs.add(task)
        self._owners.claimed(claim.job.owner, attempt.begun)
        task.add_done_callback(lambda _: room.arrived(job_id))
        task.add_done_callback(lambda _: self._count(run, attempt))
        task.add_done_callback(self._ended)

    def _count(self, run: JobRun, attempt: Attempt) -> None:
        """Learn from the end of a run how much the limits of its key allow."""
        if run.refusal is None:
            self._owners.ended(run.owner, attempt.begun)
        else:
            self._owners.refused(run.owner, attempt.begun, run.refusal.retry_after_s)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._runs.discard(task)
        self.nudge()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Work on a job met an unexpected error", exc_info=error)

    def _note(self, queued: dict[str, float]) -> None:
        """Tell the replicas the seconds of music in the queue, for autoscaling; 0 once it is empty."""
        now = monotonic()
        for model_id, card in self._cards.items():
            audio_s = queued.get(model_id, 0.0)
            noted_at = self._noted_at.get(model_id)
            if not audio_s and noted_at is None:
                continue
            if audio_s and noted_at is not None and now - noted_at < _NOTE_S:
                continue
            self._note_model(card, audio_s, now)

    def _note_model(self, card: ModelCard, audio_s: float, now: float) -> None:
        self._readiness.note_jobs(card, audio_s)
        if audio_s:
            self._noted_at[card.model_id] = now
        else:
            del self._noted_at[card.model_id]
