"""Mutated files give samples or InvalidAudio, and end no process."""

from pathlib import Path

import numpy as np
import pytest

from serve_app.audio.file_format import FLAC, MP3, OPUS, WAV, Encoding
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.audio.workers import AudioWorkers
from serve_app.errors import InvalidAudio, InvalidRequest
from tests.audio.files import CASES, KINDS, case, file_of, mutated, tone

SHORT_CASES = [file.name for file in sorted(CASES.iterdir()) if file.stat().st_size < 100_000]

ENCODINGS = [Encoding(spec) for spec in (WAV, FLAC, MP3, OPUS)]
NORMALIZATIONS = list(Normalization)


def originals() -> list[bytes]:
    """A short file of each kind, and the files of public bug reports."""
    return [file_of(kind, tone(0.5)) for kind in KINDS] + [case(name) for name in SHORT_CASES]


async def fuzz(count: int, seed: int) -> tuple[int, int]:
    """Read mutated files; return how many were taken and refused."""
    rng = np.random.default_rng(seed)
    files = originals()
    workers = AudioWorkers()
    await workers.read(files[0], 30.0)
    pids = workers._readers.pids()
    reasons: list[str] = []
    for number in range(count):
        try:
            audio = await workers.read(mutated(files[number % len(files)], rng), 30.0, 32_000)
        except InvalidAudio as error:
            reasons.append(error.message)
        else:
            assert len(audio.samples) in (1, 2)
            assert 0 < audio.duration_s < 30.1
            assert np.isfinite(audio.samples).all()
        assert workers._readers.pids() == pids, f"file {number} of seed {seed} ended its process"
    assert all(reason.startswith("The ") for reason in reasons)
    return count - len(reasons), len(reasons)


async def test_mutated_files_are_taken_or_refused() -> None:
    taken, refused = await fuzz(300, seed=0)
    assert taken > 30
    assert refused > 30


async def test_mutated_files_are_converted_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = originals()
    workers = AudioWorkers()
    refused = 0
    pids: list[int] = []
    for number in range(200):
        content = mutated(files[number % len(files)], rng)
        mastering = Mastering(NORMALIZATIONS[number % len(NORMALIZATIONS)], fade_out_s=number % 2)
        try:
            await workers.convert(content, tmp_path / "a", ENCODINGS[number % 4], mastering, 600.0)
        except InvalidRequest:
            refused += 1
        pids = pids or workers._converters.pids()
        assert workers._converters.pids() == pids, f"file {number} ended its process"
    assert 20 < refused < 180


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 10))
async def test_many_mutated_files_are_taken_or_refused(seed: int) -> None:
    taken, refused = await fuzz(1000, seed)
    assert taken > 100
    assert refused > 100
