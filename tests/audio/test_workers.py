"""Uploads in other processes: audio prompts, conversions, and what the worst file costs."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from serve_app.audio.file_format import FLAC, OPUS, WAV, Encoding
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.audio.worker_pool import WorkerPool
from serve_app.audio.workers import AudioWorkers, Conversion
from serve_app.errors import InvalidAudio, InvalidRequest
from tests.audio.files import RATE, case, file_of, tone

LONG_S = 600.0  # of long_silence.flac: stereo at 48 kHz
LONG_PCM = int(LONG_S) * 48_000 * 2 * 4  # bytes


def process_of(pool: WorkerPool) -> psutil.Process:
    [pid] = pool.pids()
    return psutil.Process(pid)


def peak_bytes(process: psutil.Process) -> int:
    """The most memory that the process has held so far."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def test_prompts_have_the_wanted_rate() -> None:
    audio = await AudioWorkers().read(case("m.m4a"), 30.0, RATE)
    assert (audio.sample_rate, len(audio.samples)) == (RATE, 2)
    assert audio.duration_s == pytest.approx(2.0, abs=0.05)


async def test_samples_come_unchanged_from_the_process() -> None:
    audio = await AudioWorkers().read(file_of("wav", tone(1.0, 2)), 30.0)
    assert np.abs(audio.samples - tone(1.0, 2)).max() < 1e-4


async def test_files_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    workers = AudioWorkers()
    mastering = Mastering(Normalization.PEAK, fade_out_s=0.1)
    conversion = await workers.convert(file_of("mp3"), path, Encoding(FLAC), mastering, 30.0)
    assert conversion == Conversion(duration_s=2.0)
    assert not conversion.marked
    audio = await workers.read(path.read_bytes(), 30.0)
    assert np.abs(audio.samples).max() == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    with pytest.raises(InvalidAudio, match="longer than the allowed 1 seconds") as error:
        await workers.convert(file_of("mp3"), path, Encoding(FLAC), mastering, 1.0)
    assert error.value.decoded_s == pytest.approx(1.0, abs=0.1)


async def test_an_impossible_bit_rate_is_refused(tmp_path: Path) -> None:
    encoding = Encoding(OPUS, bitrate_kbps=300)
    with pytest.raises(InvalidRequest, match="256 for one channel") as error:
        await AudioWorkers().convert(file_of("wav"), tmp_path / "a", encoding, Mastering(), 30.0)
    assert error.value.code == "invalid_request"


@pytest.mark.long
async def test_the_worst_file_is_read_within_its_bounds() -> None:
    """At most 3 times its PCM in memory and 5 s of CPU, in the process that decodes it."""
    workers = AudioWorkers()
    before = psutil.Process().memory_info().rss
    audio = await workers.read(case("long_silence.flac"), LONG_S)
    assert audio.samples.nbytes == LONG_PCM
    process = process_of(workers._readers)
    assert peak_bytes(process) < 3 * LONG_PCM
    assert psutil.Process().memory_info().rss - before < 3 * LONG_PCM
    assert cpu_s(process) < 5.0


@pytest.mark.long
async def test_the_worst_file_is_converted_as_a_stream(tmp_path: Path) -> None:
    workers = AudioWorkers()
    before = psutil.Process().memory_info().rss
    for mastering in (Mastering(), Mastering(Normalization.LOUDNESS, fade_out_s=1.0)):
        path = tmp_path / "a.wav"
        content = case("long_silence.flac")
        conversion = await workers.convert(content, path, Encoding(WAV), mastering, LONG_S)
        assert conversion.duration_s == LONG_S
        assert path.stat().st_size == pytest.approx(LONG_PCM / 2, abs=100)
    assert peak_bytes(process_of(workers._converters)) < LONG_PCM / 2
    assert psutil.Process().memory_info().rss - before < LONG_PCM / 4
