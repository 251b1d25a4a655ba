"""Jobs on a database and a folder of the test, over the fake generator."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from serve_app.api.app import create_api
from serve_app.config.api import AccessConfig, ApiConfig
from serve_app.config.jobs import JobsConfig
from serve_app.gateway.limits import Limits
from serve_app.gateway.observer import LogObserver
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from serve_app.jobs.acceptance import Acceptance
from serve_app.jobs.addresses import Addresses
from serve_app.jobs.announcements import Announcer
from serve_app.jobs.folder_results import FolderResults
from serve_app.jobs.intake import Submission
from serve_app.jobs.job import Claim, Job, JobRequest, JobStatus, Outcome, ResultFile
from serve_app.jobs.links import Links
from serve_app.jobs.results import result_key
from serve_app.jobs.service import JobService
from serve_app.jobs.store import JobStore, Progressed
from serve_app.jobs.stores import open_store
from serve_app.track_fields import TrackReport
from tests.fakes import LARGE, SAMPLE_RATE, SMALL, TIMINGS, FakeGenerator
from tests.jobs.patience import PATIENCE_S

LEASE_S = 30.0
CONTENT = b"RIFF" + bytes(range(256)) * 8  # stands for a file


@dataclass(frozen=True)
class JobRoom:
    """A service of jobs, and a worker's hand on its store."""

    service: JobService
    announcer: Announcer
    generator: FakeGenerator

    def api(self) -> FastAPI:
        """Build the API over the service."""
        generator = self.generator
        config = self.service.generation.config
        cards = [SMALL, LARGE]
        return create_api(
            generator, generator, cards, "small", config, jobs=lambda *_: self.service
        )

    @property
    def store(self) -> JobStore:
        return self.service.store

    async def claim(self) -> Claim:
        """Lease the next job, once there is one."""
        async with asyncio.timeout(PATIENCE_S):
            while not (claims := await self.store.claim({"small": 1, "large": 1}, LEASE_S)):
                pass
        return claims[0]

    async def progress(self, claim: Claim, part: float) -> None:
        """Record progress, as a worker does."""
        done = Progressed(part, part * claim.job.request.audio_s)
        told = replace(claim.job, status=JobStatus.RUNNING, progress=part)
        deliveries = self.announcer.deliveries(told, "progress")
        await self.store.heartbeat(claim, done, LEASE_S, deliveries)

    async def succeed(self, claim: Claim, content: bytes = CONTENT) -> Job:
        """Finish a job with `content` as the file of each variation."""
        job = claim.job
        files = tuple([await self._file(job, number, content) for number in range(job.request.n)])
        outcome = Outcome(JobStatus.SUCCEEDED, files, cost_usd=0.5)
        told = replace(
            job, status=outcome.status, results=files, progress=1.0, finished_at=job.created_at
        )
        deliveries = self.announcer.deliveries(told, "completed")
        done = await self.store.finish(claim, outcome, deliveries)
        assert done is not None
        return done

    async def fail(self, claim: Claim, error: dict[str, Any]) -> Job:
        told = replace(claim.job, status=JobStatus.FAILED, error=error)
        deliveries = self.announcer.deliveries(told, "completed")
        done = await self.store.finish(claim, Outcome(JobStatus.FAILED, error=error), deliveries)
        assert done is not None
        return done

    async def _file(self, job: Job, number: int, content: bytes) -> ResultFile:
        key = result_key(job.id, job.attempt, number, job.request.response_format)
        await self.service.results.put(key, content, "audio/wav")
        seed = job.request.seed + number
        report = TrackReport.of(SMALL, seed, SAMPLE_RATE, job.request.duration_s, TIMINGS)
        return ResultFile(
            key=key,
            media_type=job.request.encoding().file_format.media_type,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            duration_s=job.request.duration_s,
            report=report.model_dump(),
        )


def submission(
    prompt: str = "lofi beat", *, owner: str = "", duration_s: float = 2.0, n: int = 1, **more: Any
) -> Submission:
    """A request for a job of the default model. more: fields of a Submission."""
    request = JobRequest(model="", prompt=prompt, duration_s=duration_s, n=n)
    return Submission(**{"owner": owner, "request": request, **more})


@cache
def addresses_of(allow_private: bool, timeout_s: float) -> Addresses:
    """Keep the addresses of earlier tests: reading the system's certificates takes 20 ms."""
    return Addresses(allow_private, timeout_s)


@asynccontextmanager
async def job_room(
    folder: Path,
    generator: FakeGenerator | None = None,
    access: AccessConfig | None = None,
    **options: Any,
) -> AsyncIterator[JobRoom]:
    """Open a room. options: of a JobsConfig."""
    fake = generator or FakeGenerator()
    config = JobsConfig(**{"store": f"sqlite:///{folder / 'jobs.db'}"} | options)
    api = ApiConfig(max_prompt_chars=100, access=access or AccessConfig())
    results = FolderResults(folder / "results")
    results.prepare()
    links = Links(config)
    store = open_store(config)
    await store.open()
    await links.open(store)
    generation = GenerationService(
        fake, ModelRouter([SMALL, LARGE], "small"), Readiness(fake), api, LogObserver()
    )
    webhooks = config.webhooks
    addresses = addresses_of(webhooks.allow_private_addresses, webhooks.timeout_s)
    acceptance = Acceptance(generation, Limits(api.access), addresses, config)
    try:
        yield JobRoom(JobService(store, results, acceptance, links), Announcer(links), fake)
    finally:
        await store.close()


def client_of(app: FastAPI, key: str | None = None) -> httpx.AsyncClient:
    """Open a client of an API. key: an API key."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)
