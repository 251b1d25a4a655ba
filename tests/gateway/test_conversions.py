"""Conversions count as requests and as music of their callers, and are bounded."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from time import time

import pytest

from serve_app.audio.file_format import FLAC, OPUS, Encoding
from serve_app.audio.mastering import Mastering
from serve_app.audio.workers import AudioWorkers
from serve_app.config.api import AccessConfig
from serve_app.errors import DeadlineExceeded, InvalidAudio, InvalidRequest, QueueFull, RateLimited
from serve_app.gateway import conversions
from serve_app.gateway.conversions import ConversionRequest, Conversions, ConvertedFile
from serve_app.gateway.limits import Limits
from serve_app.gateway.permits import permits
from tests.audio.files import damaged, file_of, tone
from tests.fakes import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(permits, "monotonic", clock)
    return clock


@pytest.fixture(scope="module")
def workers() -> AudioWorkers:
    return AudioWorkers()


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def request(
    content: bytes | None = None, encoding: Encoding | None = None, deadline: float | None = None
) -> ConversionRequest:
    content = file_of("wav") if content is None else content
    return ConversionRequest(content, encoding or Encoding(FLAC), Mastering(), "web", deadline)


async def whole(blocks: AsyncGenerator[ConvertedFile | bytes, None]) -> bytes:
    """The file of the blocks, whose size came first."""
    file = await anext(blocks)
    assert isinstance(file, ConvertedFile)
    content = b"".join([block async for block in blocks if isinstance(block, bytes)])
    assert len(content) == file.size
    return content


def leftovers(folder: Path) -> list[str]:
    """Names of the temporary files."""
    return [file.name for file in folder.iterdir()]


def left_s(allowance: Limits) -> str:
    return allowance.headers("web")["ratelimit"].split(";")[1]


@contextlib.asynccontextmanager
async def started(service: Conversions) -> AsyncGenerator[None, None]:
    """A conversion whose file is being sent."""
    async with contextlib.aclosing(service.convert(request())) as blocks:
        await anext(blocks)
        yield


async def test_a_file_is_converted_and_leaves_nothing(workers: AudioWorkers, folder: Path) -> None:
    service = Conversions(workers, Limits(AccessConfig()), 600.0)
    assert (await whole(service.convert(request()))).startswith(b"fLaC")
    assert leftovers(folder) == []


async def test_decoded_seconds_count_as_music(workers: AudioWorkers, clock: Clock) -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=3))
    service = Conversions(workers, allowance, 600.0)
    await whole(service.convert(request()))
    assert left_s(allowance) == "r=1"
    await whole(service.convert(request()))
    with pytest.raises(RateLimited, match="has used its 3 seconds of music") as error:
        await whole(service.convert(request()))
    assert error.value.retry_after_s == pytest.approx(20.0)
    clock.now += 21
    await whole(service.convert(request()))


@pytest.mark.usefixtures("clock")
async def test_a_refused_file_counts_as_far_as_it_was_decoded(workers: AudioWorkers) -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=10))
    service = Conversions(workers, allowance, 600.0)
    content = file_of("flac", tone(6.0))
    with pytest.raises(InvalidAudio, match="damaged at"):
        await whole(service.convert(request(damaged(content, len(content) // 2, 3000))))
    assert left_s(allowance) in ("r=7", "r=8")


async def test_a_file_beyond_a_bound_is_refused(workers: AudioWorkers) -> None:
    """The bound is the configured one, or a whole minute's allowance if that is less."""
    for service in (
        Conversions(workers, Limits(AccessConfig()), 1.0),
        Conversions(workers, Limits(AccessConfig(max_audio_s_per_minute=1)), 600.0),
    ):
        with pytest.raises(InvalidAudio, match="longer than the allowed 1 seconds"):
            await whole(service.convert(request()))


async def test_a_conversion_counts_until_its_file_is_sent(workers: AudioWorkers) -> None:
    service = Conversions(workers, Limits(AccessConfig(max_concurrent_requests=1)), 600.0)
    async with started(service):
        with pytest.raises(RateLimited, match="1 running requests, its maximum"):
            await whole(service.convert(request()))
    await whole(service.convert(request()))


async def test_more_conversions_than_fit_are_refused(
    workers: AudioWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversions, "MOST_AT_ONCE", 1)
    service = Conversions(workers, Limits(AccessConfig()), 600.0)
    async with started(service):
        with pytest.raises(QueueFull, match="1 files are being converted") as error:
            await whole(service.convert(request()))
    assert error.value.retry_after_s is not None
    await whole(service.convert(request()))


async def test_a_deadline_ends_a_conversion(workers: AudioWorkers, folder: Path) -> None:
    allowance = Limits(AccessConfig(max_concurrent_requests=1))
    service = Conversions(workers, allowance, 600.0)
    with pytest.raises(DeadlineExceeded, match="before the file was converted"):
        await whole(service.convert(request(deadline=time())))
    assert leftovers(folder) == []
    await whole(service.convert(request(deadline=time() + 60)))


async def test_leaving_frees_everything(workers: AudioWorkers, folder: Path) -> None:
    service = Conversions(workers, Limits(AccessConfig(max_concurrent_requests=1)), 600.0)
    call = asyncio.create_task(whole(service.convert(request())))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert leftovers(folder) == []
    await whole(service.convert(request()))


async def test_an_impossible_bit_rate_is_refused(workers: AudioWorkers) -> None:
    service = Conversions(workers, Limits(AccessConfig()), 600.0)
    with pytest.raises(InvalidRequest, match="256 for one channel"):
        await whole(service.convert(request(encoding=Encoding(OPUS, bitrate_kbps=300))))
