"""A worker over a real SQLite store and a folder, with a generator that a test directs."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from serve_app.audio.reader import read_samples
from serve_app.audio.workers import AudioWorkers
from serve_app.config.api import AccessConfig, ApiConfig
from serve_app.config.jobs import JobsConfig
from serve_app.gateway.admission import AdmissionQueue
from serve_app.gateway.deadlines import DeadlineGenerator
from serve_app.gateway.limits import LimitedGenerator, Limits
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.retries import Retries
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from serve_app.jobs.addresses import Addresses
from serve_app.jobs.attempt import Means
from serve_app.jobs.folder_results import FolderResults
from serve_app.jobs.housekeeping import Housekeeping
from serve_app.jobs.job import EventName, Job, JobRequest, JobStatus, NewJob
from serve_app.jobs.store import JobStore, NewDelivery, StoreStats
from serve_app.jobs.stores import StoreAddress, store_at
from serve_app.jobs.worker import Worker
from serve_app.model_status import EngineStats, LoadedModel, ReplicaStatus
from serve_app.types import Audio, AudioChunk, FinishReason, GenerationRequest, StreamItem
from tests.fakes import LARGE, SAMPLE_RATE, SMALL, TIMINGS, FakeGenerator, RecordingObserver
from tests.jobs.patience import PATIENCE_S

SAMPLES_PER_CHUNK = 3200
OWNER = "maria"


@dataclass
class Studio(FakeGenerator):
    """Replicas whose tracks are constant: the seed's own level, in chunks of 0.1 s.

    slots: of each replica; replica_count: ready ones; interactive: requests that others hold; errors:
    raised one after the other at the beginning of tracks; gate: tracks pause before their last chunk
    until it is set; held: tracks in the replicas; most_held: at a time.
    """

    slots: int = 8
    replica_count: int = 1
    interactive: int = 0
    errors: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    most_held: int = 0

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        self.requests.append(request)
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        try:
            if self.errors:
                raise self.errors.pop(0)
            level = level_of(request.sampling.seed)
            samples = np.full((1, round(request.duration_s * SAMPLE_RATE)), level, np.float32)
            for start in range(0, samples.shape[1] - SAMPLES_PER_CHUNK, SAMPLES_PER_CHUNK):
                part = samples[:, start : start + SAMPLES_PER_CHUNK]
                yield AudioChunk(part, SAMPLE_RATE, track_samples=samples.shape[1])
            await self.gate.wait()
            last = samples[:, -SAMPLES_PER_CHUNK:]
            yield AudioChunk(last, SAMPLE_RATE, FinishReason.LENGTH, TIMINGS)
        finally:
            self.held -= 1
            self.closed += 1

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        if model_id != "small":
            return []
        model = LoadedModel(SAMPLE_RATE, 1, 50.0, 30.0, 300, "cpu", "fp32")
        stats = EngineStats(
            slots=self.slots,
            slots_used=self.held + self.interactive,
            background_requests=self.held,
        )
        return [ReplicaStatus(model, stats)] * self.replica_count


def level_of(seed: int) -> float:
    return (seed % 100 + 1) / 200


@dataclass
class Announcements:
    """An announcer whose messages name the event, the status and the progress of the job."""

    events: list[tuple[EventName, str]] = field(default_factory=list)

    def deliveries(self, job: Job, event: EventName) -> tuple[NewDelivery, ...]:
        if job.webhook is None or event not in job.webhook.events:
            return ()
        self.events.append((event, job.status.value))
        return (NewDelivery(job.webhook.url, event, f'{{"status": "{job.status}"}}'),)


@dataclass
class JobRecords:
    """A JobObserver that records all it is told."""

    starts: list[str] = field(default_factory=list)
    returns: list[tuple[str, str]] = field(default_factory=list)
    erasures: list[str] = field(default_factory=list)
    ends: list[tuple[str, JobStatus]] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
    counts: list[StoreStats] = field(default_factory=list)

    def started(self, job: Job) -> None:
        self.starts.append(job.id)

    def returned(self, job: Job, reason: str) -> None:
        self.returns.append((job.id, reason))

    def ended(self, job: Job) -> None:
        self.ends.append((job.id, job.status))

    def erased(self, job: Job) -> None:
        self.erasures.append(job.id)

    def delivered(self, outcome: str) -> None:
        self.deliveries.append(outcome)

    def seen(self, stats: StoreStats) -> None:
        self.counts.append(stats)


@dataclass
class Workshop:
    """A store, its results, and what works on them."""

    store: JobStore
    results: FolderResults
    folder: Path
    studio: Studio
    announcements: Announcements
    records: JobRecords
    config: JobsConfig
    access: AccessConfig

    def service(self) -> GenerationService:
        """The gateway as `create_api` builds it."""
        observer = RecordingObserver()
        router = ModelRouter([SMALL, LARGE])
        readiness = Readiness(self.studio)
        limits = Limits(self.access)
        admission = AdmissionQueue(Retries(self.studio, observer), router.cards, readiness)
        guarded = DeadlineGenerator(LimitedGenerator(admission, limits))
        api = ApiConfig(max_audio_prompt_s=10.0)
        decoder = cast(AudioWorkers, LocalDecoder())
        return GenerationService(guarded, router, readiness, api, observer, decoder)

    def worker(self, store: JobStore | None = None) -> Worker:
        means = Means(self.service(), self.results, Addresses(True, PATIENCE_S))
        return Worker(store or self.store, means, self.announcements, self.records, self.config)

    def housekeeping(self) -> Housekeeping:
        return Housekeeping(self.store, self.results, self.announcements, self.records, self.config)

    @contextlib.asynccontextmanager
    async def working(self, worker: Worker | None = None) -> AsyncIterator[Worker]:
        """Run a worker meanwhile."""
        worker = worker or self.worker()
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def add(self, **options: Any) -> Job:
        """Accept a job. Options of the job are those of NewJob, all others are the request's."""
        own = {name: options.pop(name) for name in tuple(options) if name in NewJob.__slots__}
        request: dict[str, Any] = {"model": "small", "prompt": "secret", "duration_s": 0.5}
        values: dict[str, Any] = {"owner": OWNER, "kept_s": 60.0, **own}
        new_job = NewJob(request=JobRequest(**request | options), **values)
        job, _ = await self.store.add(new_job, 10_000)
        return job

    async def get(self, job: Job) -> Job:
        found = await self.store.get(job.owner, job.id)
        assert found is not None
        return found

    async def ended(self, job: Job) -> Job:
        """Wait until a worker has ended the job, and knows it."""
        await eventually(lambda: job.id in (ended for ended, _ in self.records.ends))
        return await self.get(job)

    async def until(self, job: Job, test: Callable[[Job], bool]) -> Job:
        async with asyncio.timeout(PATIENCE_S):
            while not test(found := await self.get(job)):  # noqa: ASYNC110 (the store tells nobody)
                await asyncio.sleep(0.01)
        return found

    async def content(self, key: str) -> bytes:
        return b"".join([block async for block in self.results.read(key)])

    def files(self) -> list[str]:
        """Keys of all stored files."""
        found = [path for path in self.folder.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.folder)) for path in found)


class LocalDecoder:
    """AudioWorkers without processes."""

    async def read(
        self, content: bytes, max_duration_s: float, sample_rate: int, *, cut: bool = False
    ) -> Any:
        samples, rate = read_samples(content, max_duration_s, sample_rate, cut=cut)
        return Audio(samples, rate)


async def eventually(test: Callable[[], bool]) -> None:
    """Wait until the test holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not test():  # noqa: ASYNC110 (what is tested tells nobody)
            await asyncio.sleep(0.01)


async def has_looked(worker: Worker) -> None:
    """Wait until a worker has looked for jobs twice more, and at its replicas anew."""
    for _ in range(3):  # the last look may not be over
        for card in (SMALL, LARGE):
            worker._readiness.forget(card.model_id)
        worker.nudge()
        await eventually(lambda: not worker._nudged.is_set())


@contextlib.asynccontextmanager
async def workshop(
    folder: Path, config: JobsConfig | None = None, access: AccessConfig | None = None
) -> AsyncIterator[Workshop]:
    """Open a workshop in a folder; tracks run to their end unless a test clears the gate."""
    store = store_at(StoreAddress(f"sqlite:///{folder / 'jobs.db'}", named=True))
    await store.open()
    results = FolderResults(folder / "results")
    results.prepare()
    studio = Studio()
    studio.gate.set()
    try:
        yield Workshop(
            store,
            results,
            folder / "results",
            studio,
            Announcements(),
            JobRecords(),
            config or JobsConfig(lease_s=3.0),
            access or AccessConfig(),
        )
    finally:
        await store.close()
