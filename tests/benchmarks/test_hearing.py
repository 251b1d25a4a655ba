"""What the benchmark hears is what was played."""

import numpy as np
import pytest

from benchmarks import hearing
from tools.nano.composer import Score, render

SILENCE = np.zeros(4 * hearing.SAMPLE_RATE, np.float32)


def piece(**changes: object) -> hearing.Samples:
    values = {
        "tonic": "C",
        "mode": "major",
        "bpm": 100,
        "lead": "piano",
        "groove": "straight",
        "energy": 1,
    }
    return render(Score(**(values | changes)), 8.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("bpm", [75, 100, 150])
def test_tempo(bpm: int) -> None:
    assert hearing.same_tempo(hearing.tempo(piece(bpm=bpm)), bpm)


def test_tempos_agree_within_8_percent_and_by_octaves() -> None:
    assert all(hearing.same_tempo(heard, 100) for heard in (93, 107, 50, 200, 186))
    assert not any(hearing.same_tempo(heard, 100) for heard in (91, 109, 150, 67, 0))


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("tonic", ["C", "A"])
def test_mode(mode: str, tonic: str) -> None:
    assert hearing.mode(piece(mode=mode, tonic=tonic)) == mode


def test_a_tone() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(SILENCE)) / hearing.SAMPLE_RATE).astype(
        np.float32
    )
    noise = np.random.default_rng(0).standard_normal(len(SILENCE)).astype(np.float32)
    assert hearing.brightness(tone) == pytest.approx(1000, rel=0.02)
    assert hearing.loudness(tone) == pytest.approx(0.5 / 2**0.5, rel=0.01)
    assert hearing.flatness(tone) < 1e-3 < 0.5 < hearing.flatness(noise)


def test_onsets() -> None:
    clicks = SILENCE.copy()
    for second in (1, 2, 3):
        clicks[second * hearing.SAMPLE_RATE :][:8000] = np.sin(np.arange(8000) / 8) * np.exp(
            -np.arange(8000) / 1000
        )
    assert hearing.onsets(clicks) == 3


def test_silence_is_heard_as_nothing() -> None:
    assert (hearing.tempo(SILENCE), hearing.mode(SILENCE), hearing.onsets(SILENCE)) == (
        0.0,
        "none",
        0,
    )
