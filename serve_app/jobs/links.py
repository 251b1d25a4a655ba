"""Addresses of jobs and of their files; those of files are signed and expire."""

import asyncio
import base64
import binascii
import copy
import hashlib
import hmac
import logging
from dataclasses import dataclass

from serve_app.config.jobs import JobsConfig
from serve_app.errors import Unauthorized
from serve_app.jobs.clock import StoreClock
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.job import Job
from serve_app.jobs.store import JobStore

logger = logging.getLogger(__name__)

_SEPARATOR = "."
_CLOCK_S = 60.0


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission that a token gives. purpose: the address that it is for; value: signed with it."""

    purpose: str
    value: str


class Links:
    """Builds addresses below `public_url`, or below the address that the job was accepted at.

    A token is `expiry.value.signature`: HMAC-SHA256 with the store's key over the purpose, the
    expiry (Unix time by the database's clock) and the value. Until `open` has fetched the key, no
    token is made or accepted: JobStoreUnavailable is raised.
    """

    def __init__(self, config: JobsConfig) -> None:
        self._public_url = config.public_url.rstrip("/") if config.public_url else None
        self._link_s = config.link_s
        self._kept_s = config.kept_s
        self._key = b""
        self.clock = StoreClock()

    async def open(self, store: JobStore) -> None:
        """Fetch the signing key, and read the clock by which tokens expire."""
        self._key = await store.signing_key()
        await self.clock.read(store.now)

    async def follow(self, store: JobStore) -> None:
        """Read the clock again every _CLOCK_S seconds, until cancelled. It may fail."""
        while True:
            await asyncio.sleep(_CLOCK_S)
            try:
                await self.clock.read(store.now)
            except JobStoreUnavailable:
                continue
            except Exception:
                logger.exception("The clock of the database of jobs could not be read")

    def lasting(self) -> "Links":
        """Build links that are valid as long as results are kept, for messages that may be late."""
        lasting = copy.copy(self)
        lasting._link_s = max(self._link_s, self._kept_s)
        return lasting

    def base(self, job: Job) -> str:
        """Return the address of the service, without a slash at its end."""
        return self._public_url or str(job.details.get("base_url", "")).rstrip("/")

    def at(self, base_url: str) -> str:
        """Return the address of the service for a request that arrived at `base_url`."""
        return self._public_url or base_url.rstrip("/")

    def job(self, job: Job) -> str:
        return f"{self.base(job)}/v1/jobs/{job.id}"

    def audio(self, job: Job, number: int) -> str | None:
        """Build the signed address of a file; None: it is not in the results' store."""
        key = job.results[number].key
        if key is None or job.results_deleted:
            return None
        token = self.token(audio_grant(job.id, number, key))
        return f"{self.job(job)}/audio/{number}?token={token}"

    def token(self, grant: Grant, valid_s: float | None = None) -> str:
        """Sign a grant. valid_s: `link_s` when absent."""
        expiry = int(self.clock() + (self._link_s if valid_s is None else valid_s))
        parts = (str(expiry), _encoded(grant.value.encode()), self._signature(grant, expiry))
        return _SEPARATOR.join(parts)

    def value_of(self, purpose: str, token: str) -> str:
        """Return the value of a token. Raises Unauthorized for one that expired or is not ours."""
        grant, expiry, signature = _parsed(purpose, token)
        if not hmac.compare_digest(signature, self._signature(grant, expiry)):
            raise _refused()
        if expiry < self.clock():
            raise Unauthorized("The link has expired: fetch the job again for a new one")
        return grant.value

    def _signature(self, grant: Grant, expiry: int) -> str:
        if not self._key:
            raise JobStoreUnavailable("The key that signs links has not been read yet: try again.")
        message = f"{grant.purpose}\n{expiry}\n{grant.value}".encode()
        return _encoded(hmac.digest(self._key, message, hashlib.sha256))


def audio_purpose(job_id: str, number: int) -> str:
    """Name the purpose of links to one file of a job."""
    return f"audio/{job_id}/{number}"


def audio_grant(job_id: str, number: int, key: str) -> Grant:
    return Grant(audio_purpose(job_id, number), key)


def _parsed(purpose: str, token: str) -> tuple[Grant, int, str]:
    """Split a token. Raises Unauthorized."""
    try:
        expiry, value, signature = token.split(_SEPARATOR)
        padded = value + "=" * (-len(value) % 4)
        decoded = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 20 and signature.isascii()):
            raise ValueError
        return Grant(purpose, decoded), int(expiry), signature
    except (ValueError, binascii.Error) as error:
        raise _refused() from error


def _refused() -> Unauthorized:
    return Unauthorized("The link's token is not valid: use the link as the job tells it")


def _encoded(content: bytes) -> str:
    """Encode in base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
