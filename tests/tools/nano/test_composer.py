"""Tests of the training music: what it must be for a model of it to be good."""

from dataclasses import replace
from functools import cache
from statistics import mean

import numpy as np
import pytest

from tests.tools.nano.tracks import SCORE
from tools.nano import analysis, variety
from tools.nano.composer import gain, render
from tools.nano.loudness import loudness
from tools.nano.score import GROOVES, LEADS, Score, random_score
from tools.nano.synthesizer import SAMPLE_RATE, Samples

SCORES = [random_score(seed) for seed in range(24)]


@cache
def tracks() -> list[Samples]:
    return [render(replace(score, length_s=8), 8.0) for score in SCORES]


def score_of(**changes: object) -> Score:
    return Score(**(SCORE | changes))  # type: ignore[arg-type]


def test_mode_and_tempo_are_heard() -> None:
    pairs = list(zip(SCORES, tracks(), strict=True))
    assert mean(analysis.mode(samples) == score.mode for score, samples in pairs) >= 0.85
    assert mean(analysis.same_tempo(analysis.tempo(y), score.bpm) for score, y in pairs) >= 0.95


def test_loudness_is_even() -> None:
    levels = [loudness(samples, SAMPLE_RATE) for samples in tracks()]
    assert min(levels) > -18
    assert max(levels) < -14


@pytest.mark.parametrize("lead", LEADS)
def test_energetic_music_is_a_little_louder(lead: str) -> None:
    calm, steady, energetic = (
        analysis.loudness(render(score_of(lead=lead, groove="soft", energy=energy), 8.0))
        for energy in range(3)
    )
    assert calm < steady < energetic < 1.5 * calm


def test_bright_timbres_are_bright() -> None:
    for lead in ("bells", "trumpet", "strings", "lead"):
        assert variety.bright_share(render(score_of(lead=lead), 8.0)) > 0.1, lead
    for lead in ("pad", "bass"):
        assert variety.bright_share(render(score_of(lead=lead, groove="none"), 8.0)) < 0.05, lead


def test_pieces_have_their_own_tunes() -> None:
    scores = [score_of(bpm=90, groove="soft", piece=piece) for piece in range(20)]
    homes = [replace(one, tonic=one.homes[one.piece % 2]) for one in scores]
    music = [render(score, 10.0) for score in homes]
    assert variety.distinct([variety.contour(samples, 1 / 3) for samples in music]) >= 18
    assert variety.similarity(music) < 0.82
    same = [render(score_of(bpm=90, groove=groove), 10.0) for groove in ("soft", "none")]
    assert variety.distinct([variety.contour(samples, 1 / 3) for samples in same]) == 1


@pytest.mark.parametrize("seconds", [3, 8, 17, 30])
@pytest.mark.parametrize("bpm", [62, 170])
def test_a_track_with_a_length_ends_there(seconds: int, bpm: int) -> None:
    score = score_of(bpm=bpm)
    assert variety.ends(render(replace(score, length_s=seconds), seconds))
    assert not variety.ends(render(score, seconds))
    longer = render(replace(score, length_s=seconds), seconds + 1)
    assert not longer[seconds * SAMPLE_RATE :].any()


def test_tracks_of_all_lengths_begin_alike() -> None:
    score = score_of()
    short, long = (render(replace(score, length_s=seconds), 4.0) for seconds in (8, 20))
    np.testing.assert_array_equal(short, long)


@pytest.mark.parametrize("bpm", [70, 120])
def test_the_last_third_differs_from_the_first(bpm: int) -> None:
    assert variety.form(render(score_of(bpm=bpm), 30.0)) > 0.05


@pytest.mark.parametrize("groove", GROOVES)
def test_every_fourth_bar_has_a_fill(groove: str) -> None:
    score = score_of(groove=groove, bpm=120)
    silent = replace(score, groove="none")
    drums = render(score, 10.0) - render(silent, 10.0) * gain_of(score) / gain_of(silent)
    third, fourth = (drums[int(s * SAMPLE_RATE) :][: SAMPLE_RATE // 2] for s in (5.5, 7.5))
    assert np.allclose(third, fourth, atol=0.02) == (groove == "none")


def gain_of(score: Score) -> float:
    return gain(score.lead, score.groove, score.energy)
