"""The job store on a database: each method is one transaction."""

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

from serve_app.errors import ServeAppError
from serve_app.jobs import ending, erasure, leasing, outbox, stored_secrets, submission
from serve_app.jobs.database import Collision, Database, Transaction
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.ids import is_id
from serve_app.jobs.job import Claim, Delivery, Job, JobStatus, NewJob, Outcome
from serve_app.jobs.store import NewDelivery, Progressed, QueuePlace, Settlement, StoreStats

T = TypeVar("T")
_ATTEMPTS = 10  # of transactions that collide


class DatabaseStore:
    """A `JobStore`. Raises JobStoreUnavailable where the database cannot be reached or is full."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._signing_key: bytes | None = None
        self._reason: ServeAppError | None = None

    async def open(self) -> None:
        await self.migrate()
        self._reason = None

    async def close(self, reason: ServeAppError | None = None) -> None:
        self._reason = reason
        await self._database.close()

    async def migrate(self) -> list[str]:
        """Connect and apply the missing migrations; return their names."""
        await self._database.open()
        try:
            return await self._database.migrate()
        except BaseException:
            await self._database.close()
            raise

    async def add(self, job: NewJob, max_queued: int) -> tuple[Job, bool]:
        return await self._write(partial(submission.add, job, max_queued))

    async def repeated(self, owner: str, idempotency_key: str, body_sha256: str) -> Job | None:
        key = submission.IdempotencyKey(owner, idempotency_key, body_sha256)
        return await self._read(partial(submission.repeated, key))

    async def get(self, owner: str, job_id: str) -> Job | None:
        if not is_id(job_id):
            return None
        return await self._read(partial(submission.get, owner, job_id))

    async def is_kept(self, job_id: str) -> bool:
        return is_id(job_id) and await self._read(partial(submission.is_kept, job_id))

    async def page(
        self, owner: str, status: JobStatus | None, before: str | None, limit: int
    ) -> list[Job]:
        if before is not None and not is_id(before):
            return []
        return await self._read(partial(submission.page, owner, status, before, limit))

    async def place(self, job: Job) -> QueuePlace | None:
        return await self._read(partial(submission.place, job.id))

    async def claim(
        self, room: Mapping[str, int], lease_s: float, bounds: Mapping[str, int] | None = None
    ) -> list[Claim]:
        return await self._write(partial(leasing.claim, dict(room), lease_s, dict(bounds or {})))

    async def heartbeat(
        self,
        claim: Claim,
        done: Progressed,
        lease_s: float,
        deliveries: tuple[NewDelivery, ...] = (),
    ) -> bool | None:
        return await self._write(partial(leasing.heartbeat, claim, done, lease_s, deliveries))

    async def finish(
        self, claim: Claim, outcome: Outcome, deliveries: tuple[NewDelivery, ...] = ()
    ) -> Job | None:
        return await self._write(partial(leasing.finish, claim, outcome, deliveries))

    async def release(self, claim: Claim, delay_s: float = 0.0, *, counts: bool = True) -> None:
        await self._write(partial(leasing.release, claim, delay_s, counts))

    async def cancel(self, owner: str, job_id: str) -> Job | None:
        if not is_id(job_id):
            return None
        return await self._write(partial(ending.cancel, owner, job_id))

    async def delete(self, owner: str, job_id: str) -> tuple[str, ...] | None:
        if not is_id(job_id):
            return None
        return await self._write(partial(ending.delete, owner, job_id))

    async def reap(self, max_attempts: int) -> list[Job]:
        return await self._write(partial(ending.reap, max_attempts))

    async def announce(self, job: Job, deliveries: tuple[NewDelivery, ...]) -> bool:
        return await self._write(partial(ending.announce, job, deliveries))

    async def sweep(self, row_kept_s: float) -> list[str]:
        return await self._write(partial(erasure.sweep, row_kept_s))

    async def erase_later(self, keys: tuple[str, ...], delay_s: float) -> None:
        await self._write(partial(erasure.erase_later, keys, delay_s))

    async def queued_audio_s(self) -> dict[str, float]:
        return await self._read(submission.queued_audio_s)

    async def stats(self) -> StoreStats:
        return await self._read(submission.stats)

    async def claim_deliveries(
        self,
        limit: int,
        lease_s: float,
        bounds: Mapping[str, int] | None = None,
        hosts: Mapping[str, int] | None = None,
    ) -> list[Delivery]:
        steps = partial(
            outbox.claim_deliveries, limit, lease_s, dict(bounds or {}), dict(hosts or {})
        )
        return await self._write(steps)

    async def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        await self._write(partial(outbox.settle, delivery, settlement))

    async def redeliver(self, owner: str, job_id: str) -> int:
        if not is_id(job_id):
            return 0
        return await self._write(partial(outbox.redeliver, owner, job_id))

    async def now(self) -> float:
        return await self._read(submission.now)

    async def webhook_secrets(self, owner: str) -> list[str]:
        return await self._write(partial(stored_secrets.webhook_secrets, owner))

    async def rotate_webhook_secret(self, owner: str, overlap_s: float) -> str:
        return await self._write(partial(stored_secrets.rotate_webhook_secret, owner, overlap_s))

    async def signing_key(self) -> bytes:
        if self._signing_key is None:
            self._signing_key = await self._write(stored_secrets.signing_key)
        return self._signing_key

    async def _read(self, transaction: Transaction[T]) -> T:
        self._check_open()
        return await self._database.read(transaction)

    async def _write(self, transaction: Transaction[T]) -> T:
        self._check_open()
        for _ in range(_ATTEMPTS):
            try:
                return await self._database.write(transaction)
            except Collision:
                continue
        raise JobStoreUnavailable("The database of jobs is busy.")

    def _check_open(self) -> None:
        if self._reason is not None:
            raise self._reason.with_traceback(None)
