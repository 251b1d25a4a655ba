"""Metrics of durable jobs, which Ray exports to Prometheus with `ray_` before their names."""

from ray.serve.metrics import Counter, Gauge

from serve_app.jobs.job import Job, JobStatus
from serve_app.jobs.observer import LogJobObserver
from serve_app.jobs.store import StoreStats


class RayJobObserver(LogJobObserver):
    """Counts the work of one ingress replica, and shows the state of the store that all share."""

    def __init__(self, with_prompts: bool = False) -> None:
        super().__init__(with_prompts)
        self._attempts = Counter(
            "musicgen_job_attempts_total", "Attempts at jobs that began.", ("model",)
        )
        self._returned = Counter(
            "musicgen_job_returns_total",
            "Attempts after which the job waits again, by reason: an error's code, lost or stopped.",
            ("model", "reason"),
        )
        self._ended = Counter(
            "musicgen_jobs_total",
            "Jobs that ended, by outcome: succeeded, canceled, erased, or an error's code.",
            ("model", "outcome"),
        )
        self._deliveries = Counter(
            "musicgen_webhook_deliveries_total",
            "Attempts to deliver a webhook, by outcome: delivered, retried, failed or disabled.",
            ("outcome",),
        )
        self._queued = Gauge("musicgen_jobs_queued", "Jobs that wait in the store.")
        self._running = Gauge("musicgen_jobs_running", "Jobs that workers work on, of the store.")
        self._oldest_s = Gauge(
            "musicgen_jobs_oldest_seconds", "Age of the oldest job that waits in the store."
        )
        self._waiting = Gauge(
            "musicgen_webhooks_waiting", "Messages to webhooks that are not delivered yet."
        )

    def started(self, job: Job) -> None:
        super().started(job)
        self._attempts.inc(1, {"model": job.request.model})

    def returned(self, job: Job, reason: str) -> None:
        super().returned(job, reason)
        self._returned.inc(1, {"model": job.request.model, "reason": reason})

    def ended(self, job: Job) -> None:
        super().ended(job)
        outcome = str((job.error or {}).get("code", job.status.value))
        self._ended.inc(1, {"model": job.request.model, "outcome": outcome})

    def erased(self, job: Job) -> None:
        super().erased(job)
        self._ended.inc(1, {"model": job.request.model, "outcome": "erased"})

    def delivered(self, outcome: str) -> None:
        self._deliveries.inc(1, {"outcome": outcome})

    def seen(self, stats: StoreStats) -> None:
        self._queued.set(stats.jobs.get(JobStatus.QUEUED, 0))
        self._running.set(stats.jobs.get(JobStatus.RUNNING, 0))
        self._oldest_s.set(stats.oldest_queued_s)
        self._waiting.set(stats.deliveries_waiting)
