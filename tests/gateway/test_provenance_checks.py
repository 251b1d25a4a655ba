"""Checks count as requests and as music of their callers, and end at their deadline."""

import asyncio
import tempfile
from pathlib import Path
from time import time

import pytest

from serve_app.audio.workers import AudioWorkers
from serve_app.config.api import AccessConfig
from serve_app.errors import DeadlineExceeded, InvalidAudio, QueueFull, RateLimited
from serve_app.gateway import provenance_checks
from serve_app.gateway.limits import Limits
from serve_app.gateway.permits import permits
from serve_app.gateway.provenance_checks import CheckRequest, ProvenanceChecks
from serve_app.watermark.detector_process import DetectorProcess
from tests.audio.files import file_of
from tests.audioseal import MESSAGE, write_detector
from tests.fakes import Clock


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def workers() -> AudioWorkers:
    return AudioWorkers()


def checks_of(
    workers: AudioWorkers, access: AccessConfig, detector: DetectorProcess | None = None
) -> ProvenanceChecks:
    shared = Limits(access)
    return ProvenanceChecks(workers, shared, 60.0, detector)


def leftovers(folder: Path) -> list[str]:
    """Names of the temporary files."""
    return [file.name for file in folder.iterdir()]


def request(content: bytes | None = None, deadline: float | None = None) -> CheckRequest:
    return CheckRequest(content or file_of("wav"), "web", deadline)


async def test_a_file_without_marks(workers: AudioWorkers, folder: Path) -> None:
    report = await checks_of(workers, AccessConfig()).check(request())
    assert not report.generated
    assert (report.duration_s, report.channels, report.watermark) == (2.0, 1, None)
    assert leftovers(folder) == []


async def test_the_watermark_alone_is_a_mark(workers: AudioWorkers, tmp_path: Path) -> None:
    detector = DetectorProcess(write_detector(tmp_path / "d.safetensors"), 0.5)
    report = await checks_of(workers, AccessConfig(), detector).check(request())
    assert report.watermark is not None
    assert report.watermark.message == MESSAGE
    assert report.generated


async def test_seconds_of_the_file_are_charged(
    workers: AudioWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permits, "monotonic", Clock())
    checks = checks_of(workers, AccessConfig(max_audio_s_per_minute=3.0))
    await checks.check(request())
    await checks.check(request())
    with pytest.raises(RateLimited):
        await checks.check(request())


async def test_a_key_has_so_many_at_a_time(workers: AudioWorkers) -> None:
    checks = checks_of(workers, AccessConfig(max_concurrent_requests=1))
    results = await asyncio.gather(
        checks.check(request()), checks.check(request()), return_exceptions=True
    )
    assert sum(isinstance(result, RateLimited) for result in results) == 1


async def test_more_checks_than_fit_are_refused(
    workers: AudioWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance_checks, "MOST_AT_ONCE", 0)
    with pytest.raises(QueueFull, match="0 files are being checked") as refused:
        await checks_of(workers, AccessConfig()).check(request())
    assert refused.value.retry_after_s == 15.0
    assert "model" not in refused.value.title


async def test_a_deadline_ends_a_check(workers: AudioWorkers, folder: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        await checks_of(workers, AccessConfig()).check(request(deadline=time() - 1))
    assert leftovers(folder) == []


async def test_a_file_that_cannot_be_read_is_refused(workers: AudioWorkers) -> None:
    with pytest.raises(InvalidAudio):
        await checks_of(workers, AccessConfig()).check(request(b"text"))
