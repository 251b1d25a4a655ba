"""Mutated files give samples or InvalidAudio, and end no process."""

import numpy as np
import pytest

from serve_app.audio.workers import AudioWorkers
from serve_app.errors import InvalidAudio
from tests.audio.files import CASES, KINDS, case, file_of, mutated, tone

SHORT_CASES = [file.name for file in sorted(CASES.iterdir()) if file.stat().st_size < 100_000]


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


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 10))
async def test_many_mutated_files_are_taken_or_refused(seed: int) -> None:
    taken, refused = await fuzz(1000, seed)
    assert taken > 100
    assert refused > 100
