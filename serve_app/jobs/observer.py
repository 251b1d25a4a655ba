"""Observation of jobs: attempts, ends and the state of the queue, for logs and metrics."""

import logging
from typing import Protocol

from serve_app.errors import ModelLoading, ModelUnplaceable, QueueFull, RateLimited
from serve_app.jobs.job import Job
from serve_app.jobs.store import StoreStats

logger = logging.getLogger(__name__)

# Reasons that say nothing of the job: it waits for room, and its attempt does not count.
_EXPECTED = {error.code for error in (QueueFull, RateLimited, ModelLoading, ModelUnplaceable)}


class JobObserver(Protocol):
    """Receiver of what happens to jobs. Its methods neither block nor raise."""

    def started(self, job: Job) -> None:
        """An attempt has its first audio."""
        ...

    def returned(self, job: Job, reason: str) -> None:
        """An attempt ended, and the job waits again. reason: an error's code, `lost` or `stopped`."""
        ...

    def ended(self, job: Job) -> None:
        """A job has its final status."""
        ...

    def erased(self, job: Job) -> None:
        """The owner has deleted a job that was being worked on."""
        ...

    def delivered(self, outcome: str) -> None:
        """An attempt to deliver a webhook ended. outcome: delivered, retried, failed or disabled."""
        ...

    def seen(self, stats: StoreStats) -> None:
        """The store was counted."""
        ...


class LogJobObserver:
    """Logs a line for each attempt and each end. with_prompts: whether lines tell the prompt."""

    def __init__(self, with_prompts: bool = False) -> None:
        self._with_prompts = with_prompts

    def started(self, job: Job) -> None:
        request = job.request
        logger.info(
            "Job %s%s: attempt %d, %d x %.1f s of music by %s%s",
            job.id, _of_key(job), job.attempt, request.n, request.duration_s, request.model,
            f", prompt {request.prompt!r}" if self._with_prompts else "",
        )  # fmt: skip

    def returned(self, job: Job, reason: str) -> None:
        level = logging.DEBUG if reason in _EXPECTED else logging.WARNING
        logger.log(level, "Job %s waits again after attempt %d: %s", job.id, job.attempt, reason)

    def ended(self, job: Job) -> None:
        code = "" if job.error is None else f" ({job.error.get('code')})"
        logger.info("Job %s%s: %s%s", job.id, _of_key(job), job.status, code)

    def erased(self, job: Job) -> None:
        logger.info("Job %s%s: erased during attempt %d", job.id, _of_key(job), job.attempt)

    def delivered(self, outcome: str) -> None:
        """Do nothing: the sender logs deliveries that fail."""

    def seen(self, stats: StoreStats) -> None:
        """Do nothing: metrics tell the state of the queue."""


def _of_key(job: Job) -> str:
    return f" of key '{job.owner}'" if job.owner else ""
