"""Metrics of jobs: names, labels and values."""

from dataclasses import replace

import pytest

from serve_app.deployments import job_metrics
from serve_app.deployments.job_metrics import RayJobObserver
from serve_app.jobs.job import Job, JobRequest, JobStatus
from serve_app.jobs.store import StoreStats
from tests.deployments.test_metrics import Recorded, given

JOB = Job(
    id="01abc", owner="", status=JobStatus.SUCCEEDED, version=1, request=JobRequest(model="small"),
    priority=0, attempt=1, progress=1.0, audio_s=30.0, cancel_requested=False, metadata={},
    details={}, webhook=None, upload=None, created_at=0.0, started_at=0.0, finished_at=1.0,
    deadline_at=None, expires_at=None, results=(), results_deleted=False, error=None, cost_usd=None,
)  # fmt: skip


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(job_metrics, kind, recorded.metric)
    return recorded


def test_attempts_returns_and_ends_are_counted(recorded: Recorded) -> None:
    observer = RayJobObserver()
    observer.started(JOB)
    observer.returned(JOB, "lost")
    observer.ended(JOB)
    observer.ended(replace(JOB, status=JobStatus.CANCELED))
    observer.ended(replace(JOB, status=JobStatus.FAILED, error={"code": "generation_failed"}))
    outcomes = ("succeeded", "canceled", "generation_failed")
    assert given(recorded) == {
        "musicgen_job_attempts_total": [(1, {"model": "small"})],
        "musicgen_job_returns_total": [(1, {"model": "small", "reason": "lost"})],
        "musicgen_jobs_total": [(1, {"model": "small", "outcome": one}) for one in outcomes],
    }


def test_the_store_and_deliveries_are_shown(recorded: Recorded) -> None:
    observer = RayJobObserver()
    observer.delivered("retried")
    jobs = {JobStatus.QUEUED: 7, JobStatus.RUNNING: 2}
    observer.seen(StoreStats(jobs, oldest_queued_s=12.5, deliveries_waiting=3))
    observer.seen(StoreStats())
    assert given(recorded) == {
        "musicgen_webhook_deliveries_total": [(1, {"outcome": "retried"})],
        "musicgen_jobs_queued": [(7, {}), (0, {})],
        "musicgen_jobs_running": [(2, {}), (0, {})],
        "musicgen_jobs_oldest_seconds": [(12.5, {}), (0.0, {})],
        "musicgen_webhooks_waiting": [(3, {}), (0, {})],
    }
