"""Tests of the training examples: deterministic, varied, and true to their prompts."""

import re
from collections import Counter

import numpy as np
import pytest

from tests.tools.nano.tracks import rendered
from tools.nano import analysis
from tools.nano.composer import BEATS, LEADS, TONICS, Score, render
from tools.nano.prompts import ENERGY_WORDS, GENRES, LEAD_WORDS, MOOD_WORDS, random_example
from tools.nano.synthesizer import SAMPLE_RATE, TIMBRES

EXAMPLES = [random_example(seed) for seed in range(400)]


def test_a_seed_determines_its_example() -> None:
    score, prompt = random_example(7)
    assert random_example(7) == (score, prompt)
    assert np.array_equal(render(score, 2.0), render(score, 2.0))
    assert not np.array_equal(render(score, 2.0), render(random_example(8)[0], 2.0))


def test_examples_are_varied() -> None:
    scores = [score for score, _ in EXAMPLES]
    assert {score.lead for score in scores} == set(LEADS) == set(TIMBRES) == set(LEAD_WORDS)
    assert {score.tonic for score in scores} == set(TONICS)
    assert min(Counter(score.mode for score in scores).values()) > 150
    assert min(Counter(score.energy for score in scores).values()) > 70
    assert min(score.bpm for score in scores) < 66
    assert max(score.bpm for score in scores) > 170
    assert len({prompt for _, prompt in EXAMPLES}) > 380


def test_prompts_match_their_scores() -> None:
    stated = Counter[str]()
    for score, prompt in EXAMPLES:
        text = prompt.lower()
        if found := re.search(r"(\d+) ?bpm", text):
            stated["bpm"] += 1
            assert int(found[1]) == score.bpm
        for mode, words in MOOD_WORDS.items():
            if any(word in text.split() for word in words) or f"{mode} key" in text:
                stated["mode"] += 1
                assert mode == score.mode
        if any(words in text for words in LEAD_WORDS[score.lead]):
            stated["lead"] += 1
    assert min(stated[name] for name in ("bpm", "mode", "lead")) > 150


def test_the_lead_determines_the_key_unless_the_prompt_does() -> None:
    """The prompt determines every note: without a key in it, lead and mode determine the key."""
    others = [example for example in EXAMPLES if example[0].tonic != example[0].home]
    assert 0.1 < len(others) / len(EXAMPLES) < 0.3
    for score, prompt in others:
        assert f"in {score.tonic} {score.mode}".lower() in prompt.lower()
    for lead in LEADS:
        major, minor = (Score("C", mode, 100, lead, "none", 0).home for mode in ("major", "minor"))
        assert major != minor


def test_tempos_of_one_beat_have_equal_scores() -> None:
    scores = [Score("C", "major", bpm, "piano", "soft", 1) for bpm in range(60, 181)]
    assert all(score.in_frames().beat == score.beat for score in scores)
    assert len({score.in_frames() for score in scores}) == len(BEATS)


def test_prompts_have_the_phrasings_of_users() -> None:
    prompts = [prompt.lower() for _, prompt in EXAMPLES]
    assert any(re.fullmatch(rf"({'|'.join(GENRES)}) \w+", prompt) for prompt in prompts), (
        "a bare `lofi beat`"
    )
    assert any(re.fullmatch(r"\w+ \w+ \w+, \d+ bpm", prompt) for prompt in prompts), (
        "`calm ambient piano, 70 bpm`"
    )
    assert any(re.search(r"\d+bpm", prompt) for prompt in prompts), "without the space"
    energies = "|".join(word for words in ENERGY_WORDS for word in words)
    assert any(
        re.search(rf"\b({energies}) (steady |funky )?drums", prompt) for prompt in prompts
    ), "without the comma"
    catalogue = [prompt for prompt in prompts if prompt.endswith("high quality production")]
    assert len(catalogue) > 40
    assert all(10 <= len(prompt.replace(",", "").split()) <= 25 for prompt in catalogue)


@pytest.mark.parametrize("lead", LEADS)
def test_energy_sets_loudness(lead: str) -> None:
    calm, steady, energetic = (
        analysis.loudness(rendered(lead=lead, groove="soft", energy=energy)) for energy in range(3)
    )
    assert calm < 0.8 * steady < 0.8 * energetic


def test_timbre_sets_brightness() -> None:
    for high in ("bells", "flute"):
        for low in ("bass", "pad"):
            bright = analysis.brightness(rendered(lead=high, groove="soft"))
            assert bright > 1.2 * analysis.brightness(rendered(lead=low, groove="soft"))


@pytest.mark.parametrize("bpm", [70, 100, 125, 170])
def test_the_tempo_is_detected(bpm: int) -> None:
    assert analysis.same_tempo(analysis.tempo(rendered(bpm=bpm)), bpm)


def test_samples_are_finite_and_do_not_clip() -> None:
    for score, _ in EXAMPLES[:20]:
        samples = render(score, 3.0)
        assert samples.dtype == np.float32
        assert len(samples) == 3 * SAMPLE_RATE
        assert np.isfinite(samples).all()
        assert 0.02 < np.abs(samples).max() < 1.0
