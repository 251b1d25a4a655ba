"""The store against a model in memory: any order of calls, with time that passes in between."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import Claim, JobStatus, Outcome
from serve_app.jobs.sqlite import SqliteDatabase
from serve_app.jobs.store import Progressed
from tests.jobs.stores import MOST, new_job, pass_time, success

MAX_ATTEMPTS = 2
LEASE_S = 3000.0
STEP_S = 2000.0  # two of them end a lease


@dataclass
class Model:
    """State of one job."""

    priority: int
    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    lease: str | None = None
    left_s: float = 0.0  # of the lease
    cancel: bool = False


class Jobs(RuleBasedStateMachine):
    """Calls of callers, workers and the reaper, in any order."""

    ids = Bundle("ids")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.store = DatabaseStore(SqliteDatabase(Path(self.folder.name) / "jobs.db"))
        self.loop.run_until_complete(self.store.open())
        self.jobs: dict[str, Model] = {}

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    def held(self, claim: Claim) -> Model | None:
        """The running job of a lease that is in force."""
        job = self.jobs.get(claim.job.id)
        running = job is not None and job.status is JobStatus.RUNNING and job.lease == claim.lease
        return job if running else None

    @rule(target=ids, priority=st.integers(-1, 1))
    def add(self, priority: int) -> str:
        job, _ = self.loop.run_until_complete(self.store.add(new_job(priority=priority), MOST))
        self.jobs[job.id] = Model(priority)
        return job.id

    @rule(target=claims)
    def claim(self) -> Claim | None:
        claims = self.loop.run_until_complete(self.store.claim({"nano": 1}, LEASE_S))
        queued = [job.priority for job in self.jobs.values() if job.status is JobStatus.QUEUED]
        assert len(claims) == min(1, len(queued))
        if not claims:
            return None
        job = self.jobs[claims[0].job.id]
        assert (job.status, job.priority) == (JobStatus.QUEUED, max(queued))
        job.status = JobStatus.RUNNING
        job.attempt += 1
        job.lease = claims[0].lease
        job.left_s = LEASE_S
        return claims[0]

    @rule(claim=claims)
    def heartbeat(self, claim: Claim | None) -> None:
        if claim is None:
            return
        beat = self.store.heartbeat(claim, Progressed(0.5, 1.0), LEASE_S)
        answer = self.loop.run_until_complete(beat)
        job = self.held(claim)
        assert answer == (None if job is None else job.cancel)
        if job is not None:
            job.left_s = LEASE_S

    @rule(claim=claims, succeeds=st.booleans())
    def finish(self, claim: Claim | None, succeeds: bool) -> None:
        if claim is None:
            return
        job = self.held(claim)
        ended_by_it = self.jobs.get(claim.job.id)
        outcome = success(claim) if succeeds else Outcome(JobStatus.FAILED, error={})
        answer = self.loop.run_until_complete(self.store.finish(claim, outcome))
        if job is not None:
            job.status = outcome.status
        same = ended_by_it is not None and ended_by_it.lease == claim.lease
        assert (answer is not None) == same
        if answer is not None and ended_by_it is not None:
            assert answer.status is ended_by_it.status

    @rule(claim=consumes(claims), counts=st.booleans())
    def release(self, claim: Claim | None, counts: bool) -> None:
        if claim is None:
            return
        job = self.held(claim)
        self.loop.run_until_complete(self.store.release(claim, counts=counts))
        if job is None:
            return
        job.lease = None
        job.status = JobStatus.CANCELED if job.cancel else JobStatus.QUEUED
        if not job.cancel and not counts:
            job.attempt -= 1

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        answer = self.loop.run_until_complete(self.store.cancel("me", job_id))
        job = self.jobs.get(job_id)
        assert (answer is None) == (job is None)
        if job is not None and job.status is JobStatus.QUEUED:
            job.status = JobStatus.CANCELED
        elif job is not None and job.status is JobStatus.RUNNING:
            job.cancel = True

    @rule(job_id=consumes(ids))
    def delete(self, job_id: str) -> None:
        answer = self.loop.run_until_complete(self.store.delete("me", job_id))
        assert (answer is None) == (self.jobs.pop(job_id, None) is None)

    @rule()
    def time_passes(self) -> None:
        self.loop.run_until_complete(pass_time(self.store, STEP_S))
        for job in self.jobs.values():
            job.left_s -= STEP_S

    @rule()
    def reap(self) -> None:
        self.loop.run_until_complete(self.store.reap(MAX_ATTEMPTS))
        for job in self.jobs.values():
            if job.status is JobStatus.RUNNING and job.left_s <= 0:
                job.lease = None
                again = JobStatus.QUEUED if job.attempt < MAX_ATTEMPTS else JobStatus.FAILED
                job.status = JobStatus.CANCELED if job.cancel else again

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        stored = self.loop.run_until_complete(self.store.page("me", None, None, MOST))
        assert {job.id: (job.status, job.attempt) for job in stored} == {
            job_id: (job.status, job.attempt) for job_id, job in self.jobs.items()
        }


Jobs.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestJobs = Jobs.TestCase
