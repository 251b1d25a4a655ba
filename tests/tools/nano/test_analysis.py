"""Tests of the audio features, on tracks with known properties."""

import numpy as np
import pytest

from tests.tools.nano.tracks import rendered
from tools.nano import analysis
from tools.nano.synthesizer import SAMPLE_RATE

SILENCE = np.zeros(4 * SAMPLE_RATE, np.float32)


@pytest.mark.parametrize("bpm", [75, 100, 150])
def test_tempo(bpm: int) -> None:
    assert analysis.same_tempo(analysis.tempo(rendered(bpm=bpm)), bpm)


def test_tempos_agree_within_8_percent_and_by_octaves() -> None:
    assert all(analysis.same_tempo(estimate, 100) for estimate in (93, 107, 50, 200, 186))
    assert not any(analysis.same_tempo(estimate, 100) for estimate in (91, 109, 150, 67, 0))


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("tonic", ["C", "A"])
def test_mode(mode: str, tonic: str) -> None:
    assert analysis.mode(rendered(mode=mode, tonic=tonic)) == mode


def test_spectral_features_tell_a_tone_from_noise() -> None:
    phase = 2 * np.pi * 1000 * np.arange(len(SILENCE)) / SAMPLE_RATE
    tone = 0.5 * np.sin(phase).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(len(SILENCE)).astype(np.float32)
    assert analysis.brightness(tone) == pytest.approx(1000, rel=0.02)
    assert analysis.loudness(tone) == pytest.approx(0.5 / 2**0.5, rel=0.01)
    assert analysis.flatness(tone) < 1e-3 < 0.5 < analysis.flatness(noise)


def test_onsets() -> None:
    click = np.sin(np.arange(8000) / 8) * np.exp(-np.arange(8000) / 1000)
    clicks = SILENCE.copy()
    for second in (1, 2, 3):
        clicks[second * SAMPLE_RATE :][:8000] = click
    assert analysis.onsets(clicks) == 3


def test_silence_has_no_tempo_mode_or_onsets() -> None:
    assert analysis.tempo(SILENCE) == 0.0
    assert analysis.mode(SILENCE) == "none"
    assert analysis.onsets(SILENCE) == 0
