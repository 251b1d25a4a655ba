"""Tests of the features of variety, on sounds with known properties."""

import numpy as np
import pytest

from tools.nano import variety
from tools.nano.synthesizer import SAMPLE_RATE, Samples


def tune(midi: list[int], seconds: float = 0.5) -> Samples:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hz = [440 * 2 ** ((number - 69) / 12) for number in midi]
    return np.concatenate([0.3 * np.sin(2 * np.pi * one * t) for one in hz]).astype(np.float32)


UP = tune([60, 62, 64, 65, 67, 69, 71, 72])
DOWN = tune([72, 71, 69, 67, 65, 64, 62, 60])
HIGHER = tune([64, 66, 68, 69, 71, 73, 75, 76])


def test_contours_tell_tunes_apart_in_any_key() -> None:
    up, down, higher = (variety.contour(samples, 0.5) for samples in (UP, DOWN, HIGHER))
    assert up.tolist() == [1] * 7
    assert down.tolist() == [-1] * 7
    assert variety.distinct([up, down, higher]) == 2


def test_similarity_is_of_pitch_classes() -> None:
    fifth = tune([67] * 8)
    assert variety.similarity([tune([60] * 8), tune([72] * 8)]) > 0.9
    assert variety.similarity([tune([60] * 8), fifth]) < 0.5


def test_bright_share_is_the_energy_above_2500_hz() -> None:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    both = np.sin(2 * np.pi * 500 * t) + 0.5 * np.sin(2 * np.pi * 5000 * t)
    assert variety.bright_share(both.astype(np.float32)) == pytest.approx(0.2, abs=0.01)


def test_ends() -> None:
    steady = tune([60] * 10)
    faded = steady * np.linspace(1, 0, len(steady), dtype=np.float32)
    cut = np.concatenate([steady, np.zeros(4 * SAMPLE_RATE, np.float32)])
    assert variety.ends(faded)
    assert not variety.ends(steady)
    assert not variety.ends(cut), "it ended long before"


def test_a_loop_has_no_form() -> None:
    loop = np.tile(tune([60, 64, 67, 64]), 15)
    other = np.concatenate([loop[: len(loop) * 2 // 3], np.tile(tune([62, 65, 69, 65]), 5)])
    assert variety.form(loop) < 0.03
    assert variety.form(other) > 0.2
