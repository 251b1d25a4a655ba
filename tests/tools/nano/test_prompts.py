"""Tests of the training examples: deterministic, varied, and true to their prompts."""

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from tests.tools.nano.tracks import rendered
from tools.nano import analysis
from tools.nano.composer import render
from tools.nano.prompts import (
    BEGINNING_S,
    WHOLE,
    duration_s,
    random_example,
    with_length,
    without_length,
)
from tools.nano.score import HOMES, LEADS, SCALES, TONICS
from tools.nano.synthesizer import SAMPLE_RATE, TIMBRES
from tools.nano.words import ENERGY_WORDS, GENRES, LEAD_WORDS, MOOD_WORDS

EXAMPLES = [random_example(seed) for seed in range(400)]


@pytest.mark.parametrize("prompt", ["calm piano, 90 bpm", "lofi beat", "3 s of bells"])
def test_a_length_is_added_and_removed(prompt: str) -> None:
    assert without_length(with_length(prompt, 12)) == prompt
    assert without_length(prompt) == prompt


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


def test_a_key_that_is_not_the_modes_own_is_in_the_prompt() -> None:
    others = [example for example in EXAMPLES if example[0].tonic not in example[0].homes]
    assert 0.05 < len(others) / len(EXAMPLES) < 0.2
    for score, prompt in others:
        assert f"in {score.tonic} {score.mode}".lower() in prompt.lower()


def test_keys_have_few_notes_in_common() -> None:
    """So that a mixture of two keys of one mode is not heard as the other: C and A major were, as A minor."""
    notes = [
        {(TONICS[home] + step) % 12 for step in SCALES[mode]}
        for mode, homes in HOMES.items()
        for home in homes
    ]
    assert len(notes) == 4
    assert max(len(one & other) for one, other in combinations(notes, 2)) <= 4


def test_a_prompt_names_the_length_of_a_track_that_ends() -> None:
    ending = [example for example in EXAMPLES if example[0].length_s is not None]
    assert 0.75 < len(ending) / len(EXAMPLES) < 0.95
    for score, prompt in EXAMPLES:
        assert prompt.endswith(f", {score.length_s} s") == (score.length_s is not None)
    assert {score.length_s for score, _ in ending} >= set(range(2, 31))


def test_examples_of_high_seeds_are_beginnings_without_ends() -> None:
    for seed in range(WHOLE, WHOLE + 50):
        score, prompt = random_example(seed)
        assert score.length_s is None
        assert without_length(prompt) == prompt
        assert duration_s(seed) == BEGINNING_S
    assert {duration_s(seed) for seed in range(WHOLE - 500, WHOLE)} == set(range(2, 31))


def test_some_prompts_are_meaningless() -> None:
    words = {word for _, prompt in EXAMPLES[:300] for word in prompt.lower().split()}
    known = {word for word in words if sum(word in p.lower().split() for _, p in EXAMPLES) > 1}
    meaningless = [p for s, p in EXAMPLES if not known & set(bare(p).lower().split())]
    assert 0 < len(meaningless) < 0.08 * len(EXAMPLES)


def bare(prompt: str) -> str:
    """The prompt without the length of the track."""
    return re.sub(r", \d+ s$", "", prompt)


def test_prompts_have_the_phrasings_of_users() -> None:
    prompts = [bare(prompt.lower()) for _, prompt in EXAMPLES]
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
