"""Signing of files with C2PA manifests, in threads of its own."""

import asyncio
import io
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import time
from typing import Any, BinaryIO

from serve_app.errors import ConfigError, DeadlineExceeded, SigningFailed
from serve_app.provenance.credentials import Credentials
from serve_app.provenance.library import offline_context
from serve_app.provenance.manifest import Definition, Generated

logger = logging.getLogger(__name__)

_THREADS = 4  # signing takes milliseconds; a time-stamp server may take longer
_MOST_S = 30.0
_PROBE = b"musicgen-serve"
_PROBE_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class SigningJob:
    """A file to sign, from its beginning. target: open for reading, too; parent: ingredient archive
    of the file that this one was made of; detached: the manifest stays out of the file; deadline:
    Unix time at which the request is given up."""

    source: BinaryIO
    target: BinaryIO
    media_type: str
    definition: Definition
    parent: bytes = b""
    detached: bool = False
    deadline: float | None = None


class ManifestSigner:
    """Signs manifests with `credentials`, off the event loop.

    timestamp_url: of a time-stamp server; None: no time-stamps. Raises ConfigError for credentials
    with which the library cannot sign.
    """

    def __init__(self, credentials: Credentials, timestamp_url: str | None = None) -> None:
        self.credentials = credentials
        self._timestamp_url = timestamp_url
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="signing")
        self._context = offline_context()
        self._check_signature()

    def check(self) -> None:
        """Raise SigningFailed where a signature would be invalid: before a track is made."""
        if not self.credentials.is_valid():
            logger.error("The signing certificate expired on %s", self.credentials.valid_until)
            raise SigningFailed(
                "The service cannot sign files at present, and sends none unsigned. "
                "Send the request again later."
            )

    async def embed(
        self,
        content: bytes,
        media_type: str,
        definition: Definition,
        deadline: float | None = None,
    ) -> bytes:
        """Return the file with a signed manifest in it. Raises as `sign` does."""
        source = io.BytesIO(content)
        target = io.BytesIO()
        await self.sign(SigningJob(source, target, media_type, definition, deadline=deadline))
        return target.getvalue()

    async def detach(
        self,
        content: bytes,
        media_type: str,
        definition: Definition,
        deadline: float | None = None,
    ) -> bytes:
        """Return a signed manifest of the file as it is, for a file of its own (`.c2pa`).

        Raises as `sign` does.
        """
        job = SigningJob(
            io.BytesIO(content),
            io.BytesIO(),
            media_type,
            definition,
            detached=True,
            deadline=deadline,
        )
        return await self.sign(job)

    async def sign(self, job: SigningJob) -> bytes:
        """Write the signed file; return its manifest.

        Raises SigningFailed, and DeadlineExceeded where a time-stamp server outlasts the request.
        """
        self.check()
        loop = asyncio.get_running_loop()
        left_s = math.inf if job.deadline is None else job.deadline - time()
        try:
            async with asyncio.timeout(min(_MOST_S, left_s)):
                return await loop.run_in_executor(self._threads, self._sign_logged, job)
        except TimeoutError as error:
            logger.error("Signing took more than %.1f s", min(_MOST_S, left_s))
            raise (_too_late() if left_s < _MOST_S else _failure()) from error

    def _sign_logged(self, job: SigningJob) -> bytes:
        import c2pa

        try:
            return self._sign(job, self._timestamp_url)
        except c2pa.C2paError as error:
            logger.error("A file could not be signed: %s", error)
            raise _failure() from error

    def _sign(self, job: SigningJob, timestamp_url: str | None) -> bytes:
        import c2pa

        pair = self.credentials
        info = c2pa.C2paSignerInfo(pair.algorithm, pair.chain, pair.private_key, timestamp_url)
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(job.definition, context=self._context) as builder,
        ):
            if job.parent:
                builder.add_ingredient_from_archive(io.BytesIO(job.parent))
            if job.detached:
                builder.set_no_embed()
            return bytes(builder.sign(signer, job.media_type, job.source, job.target))

    def _check_signature(self) -> None:
        """Sign a probe without a time-stamp, and validate it. Raises ConfigError."""
        import c2pa

        definition = Generated("probe", "probe", {}).definition()
        source = io.BytesIO(_PROBE)
        job = SigningJob(source, io.BytesIO(), _PROBE_TYPE, definition, detached=True)
        try:
            state = _state(self._sign(job, None), self._context)
        except c2pa.C2paError as error:
            raise ConfigError(
                f"The certificate and the private key cannot sign: {error}"
            ) from error
        if state not in ("Valid", "Trusted"):
            raise ConfigError(
                f"A signature with the certificate is {state}. C2PA asks for a certificate with the "
                "key usage digitalSignature and the extended key usage c2pa-kp-claimSigning or "
                "emailProtection, and for the chain up to its root."
            )


def _state(manifest: bytes, context: Any) -> str:
    """Validate the probe's manifest."""
    import c2pa

    with c2pa.Reader(_PROBE_TYPE, io.BytesIO(_PROBE), manifest, context=context) as reader:
        return str(reader.get_validation_state())


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The request deadline passed before the file was signed. Allow more time."
    )


def _failure() -> SigningFailed:
    return SigningFailed(
        "The file could not be signed, and is not sent unsigned. Send the request again later."
    )
