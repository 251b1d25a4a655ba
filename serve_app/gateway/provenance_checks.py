"""Checks of the marks of audio files, within the limits of their callers."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import time

from serve_app.audio.inspector import Inspection
from serve_app.audio.workers import AudioWorkers
from serve_app.errors import ConfigError, DeadlineExceeded, InvalidAudio
from serve_app.gateway.limits import Limits
from serve_app.gateway.places import Places
from serve_app.provenance.trust import read_anchors
from serve_app.provenance_report import ProvenanceReport, WatermarkReport
from serve_app.watermark.detection import Samples
from serve_app.watermark.detector_process import DetectorProcess

MOST_AT_ONCE = 8  # waiting and running, in one ingress replica; one process looks for watermarks
_RETRY_AFTER_S = 15.0


@dataclass(frozen=True)
class CheckRequest:
    """A file to check. manifest: outside the file; caller, deadline: as of a GenerationRequest."""

    content: bytes
    caller: str = ""
    deadline: float | None = None
    manifest: bytes | None = None


def trust_anchors(file: str | None) -> str | None:
    """Read the configured certificates of trusted signers. Raises ConfigError."""
    if file is None:
        return None
    try:
        return read_anchors(Path(file).expanduser())
    except ConfigError as error:
        raise ConfigError(f"provenance.trust_anchors_file: {error.message}") from error


class ProvenanceChecks:
    """Checks files in `workers`; a check is a request of its caller, and its seconds are music.

    Checks have places of their own: however slow, they take none of the conversions'.
    detector: None: none looks for a watermark; trust_anchors_file: PEM, read once. Raises ConfigError
    for a file without certificates.
    """

    def __init__(
        self,
        workers: AudioWorkers,
        limits: Limits,
        max_duration_s: float,
        detector: DetectorProcess | None,
        trust_anchors_file: str | None = None,
    ) -> None:
        self._workers = workers
        self._places = Places(limits, MOST_AT_ONCE, "being checked", _RETRY_AFTER_S)
        self._limits = limits
        self._max_duration_s = min(max_duration_s, limits.longest_s)
        self._detector = detector
        self._trust_anchors = trust_anchors(trust_anchors_file)

    async def check(self, request: CheckRequest) -> ProvenanceReport:
        """Read the marks of a file. Raises RateLimited, QueueFull, DeadlineExceeded and InvalidAudio."""
        left_s = None if request.deadline is None else request.deadline - time()
        async with self._places.taken(request.caller):
            with tempfile.TemporaryDirectory(prefix="musicgen-check-") as folder:
                try:
                    async with asyncio.timeout(left_s):
                        return await self._check(request, Path(folder) / "samples")
                except TimeoutError as error:
                    raise DeadlineExceeded(
                        "The request deadline passed before the file was checked. "
                        "Allow more time, or send a shorter file."
                    ) from error

    async def _check(self, request: CheckRequest, pcm: Path) -> ProvenanceReport:
        found = await self._inspect(request, pcm)
        watermark: WatermarkReport | None = None
        if self._detector is not None and found.channels:
            samples = Samples(pcm, found.channels)
            watermark = await self._detector.detect(samples, found.duration_s)
        return found.report(watermark)

    async def _inspect(self, request: CheckRequest, pcm: Path) -> Inspection:
        """Decode the file, and charge its seconds to the caller."""
        decoded_s = 0.0
        wanted = None if self._detector is None else pcm
        try:
            found = await self._workers.inspect(
                request.content,
                self._max_duration_s,
                wanted,
                request.manifest,
                self._trust_anchors,
            )
            decoded_s = found.duration_s
            return found
        except InvalidAudio as error:
            decoded_s = error.decoded_s
            raise
        finally:
            self._limits.charge(request.caller, decoded_s)
