"""The protocol of a job store: one table of jobs, one outbox of webhooks, secrets of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from serve_app.errors import ServeAppError
from serve_app.jobs.job import Claim, Delivery, EventName, Job, JobStatus, NewJob, Outcome


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Place of a queued job. position: 1 is next; audio_s: seconds of music before it, its own not."""

    position: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class Progressed:
    """Progress of a running job. progress: 0 to 1; audio_s: seconds of music made."""

    progress: float
    audio_s: float


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A message for the outbox. body: JSON text."""

    url: str
    event: EventName
    body: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one attempt to deliver.

    delivered: answered by 2xx; retry_in_s: seconds until the next attempt, None: there is none;
    disables: the receiver is gone (410), and gets no message of this owner's any more.
    """

    delivered: bool
    status: int | None = None
    error: str | None = None
    retry_in_s: float | None = None
    disables: bool = False


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Numbers of the store. oldest_queued_s: age of the oldest queued job, 0 without one."""

    jobs: Mapping[JobStatus, int] = field(default_factory=dict)
    oldest_queued_s: float = 0.0
    deliveries_waiting: int = 0


class JobStore(Protocol):
    """Jobs in a database, which several processes share. All times are by the database's clock.

    A claim is a lease: only its holder changes a running job, and each of its writes checks the lease.
    Work is done at least once; its end is recorded exactly once.
    """

    async def open(self) -> None:
        """Connect and apply the migrations in order.

        Raises ConfigError where this cannot heal, as for a newer schema.
        """
        ...

    async def close(self, reason: ServeAppError | None = None) -> None:
        """Disconnect. reason: what calls raise until the store is open again."""
        ...

    async def add(self, job: NewJob, max_queued: int) -> tuple[Job, bool]:
        """Accept a job; return it and whether it is new. Its upload is not erased any more.

        A repeated idempotency key returns the job of the first time. Raises IdempotencyMismatch if
        its body was another, and QueueFull if the owner has `max_queued` jobs that have not ended.
        """
        ...

    async def repeated(self, owner: str, idempotency_key: str, body_sha256: str) -> Job | None:
        """Find the job that was added with this key. Raises IdempotencyMismatch."""
        ...

    async def get(self, owner: str, job_id: str) -> Job | None:
        """Read a job; one whose `expires_at` has passed has no results."""
        ...

    async def is_kept(self, job_id: str) -> bool:
        """Whether there is such a job, of any owner, whose results have not expired."""
        ...

    async def page(
        self, owner: str, status: JobStatus | None, before: str | None, limit: int
    ) -> list[Job]:
        """List jobs as `get`, the newest first: those before the id `before`, at most `limit`."""
        ...

    async def place(self, job: Job) -> QueuePlace | None:
        """Find the place of a queued job among those of its model; None: it is not queued."""
        ...

    async def claim(
        self, room: Mapping[str, int], lease_s: float, bounds: Mapping[str, int] | None = None
    ) -> list[Claim]:
        """Lease queued jobs, at most `room` of each model.

        Those of the owner with the fewest running jobs go first, then by priority, then by age.

        bounds: most jobs to lease of the owners that it names.
        """
        ...

    async def heartbeat(
        self,
        claim: Claim,
        done: Progressed,
        lease_s: float,
        deliveries: tuple[NewDelivery, ...] = (),
    ) -> bool | None:
        """Extend the lease and record progress; return whether a cancel is asked for.

        deliveries: replace those of earlier progress that have not been sent. None: the lease is lost.
        """
        ...

    async def finish(
        self, claim: Claim, outcome: Outcome, deliveries: tuple[NewDelivery, ...] = ()
    ) -> Job | None:
        """Record the end with its deliveries, in one transaction. None: the lease is lost."""
        ...

    async def release(self, claim: Claim, delay_s: float = 0.0, *, counts: bool = True) -> None:
        """Return the job to the queue. counts: whether the attempt does."""
        ...

    async def cancel(self, owner: str, job_id: str) -> Job | None:
        """Cancel a queued job at once; ask a running one to stop. Ended jobs stay as they are."""
        ...

    async def delete(self, owner: str, job_id: str) -> tuple[str, ...] | None:
        """Delete a job and its deliveries; return the keys of its files. A running one stops.

        None: the owner has no such job.
        """
        ...

    async def reap(self, max_attempts: int) -> list[Job]:
        """Return jobs whose lease has passed to the queue, or fail them after `max_attempts`.

        Ends jobs whose deadline has passed. Returns the jobs that have ended by this and by a
        cancel, each until a caller has told of it with `announce`.
        """
        ...

    async def announce(self, job: Job, deliveries: tuple[NewDelivery, ...]) -> bool:
        """Add the deliveries of a job that ended without a worker; return whether this call did.

        One call does, of all processes.
        """
        ...

    async def sweep(self, row_kept_s: float) -> list[str]:
        """Expire results and delete old rows; return the keys of files to erase.

        Each call does a bounded part: repeat it until no key is left.
        """
        ...

    async def erase_later(self, keys: tuple[str, ...], delay_s: float) -> None:
        """Let `sweep` name these files for erasure after so many seconds."""
        ...

    async def queued_audio_s(self) -> dict[str, float]:
        """Seconds of music in queued jobs, by model."""
        ...

    async def stats(self) -> StoreStats: ...

    async def claim_deliveries(
        self,
        limit: int,
        lease_s: float,
        bounds: Mapping[str, int] | None = None,
        hosts: Mapping[str, int] | None = None,
    ) -> list[Delivery]:
        """Lease messages that are due.

        bounds, hosts: most messages of the owners, and to the hosts, that they name.
        """
        ...

    async def settle(self, delivery: Delivery, settlement: Settlement) -> None: ...

    async def redeliver(self, owner: str, job_id: str) -> int:
        """Send the latest delivery of each event again, with its id; return their number."""
        ...

    async def now(self) -> float:
        """Read the database's clock, as Unix time."""
        ...

    async def webhook_secrets(self, owner: str) -> list[str]:
        """The owner's secrets in force, the newest first, as `whsec_` and base64. Draws the first."""
        ...

    async def rotate_webhook_secret(self, owner: str, overlap_s: float) -> str:
        """Draw a new secret; the earlier ones stay in force for `overlap_s` seconds more."""
        ...

    async def signing_key(self) -> bytes:
        """The key that signs download addresses, drawn once for the store (32 bytes)."""
        ...
