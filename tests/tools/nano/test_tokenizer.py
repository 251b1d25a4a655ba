"""Tests of the embedded model's tokenizer."""

import pytest

from tools.nano.prompts import PRODUCTION
from tools.nano.tokenizer import make_tokenizer
from tools.nano.words import DRUM_WORDS, ENERGY_WORDS, GENRES, LEAD_WORDS, MOOD_WORDS

TOKENIZER = make_tokenizer()


@pytest.mark.parametrize("bpm", range(60, 181))
def test_a_tempo_is_one_token(bpm: int) -> None:
    assert TOKENIZER.tokenize(f"calm piano, {bpm} bpm") == [
        "▁calm",
        "▁piano",
        ",",
        f"▁{bpm}",
        "▁bpm",
    ]


def test_words_of_prompts_are_one_token_each() -> None:
    meanings = [
        *LEAD_WORDS.values(),
        *MOOD_WORDS.values(),
        *DRUM_WORDS.values(),
        *ENERGY_WORDS,
        PRODUCTION,
        GENRES,
    ]
    for word in {
        word
        for phrases in meanings
        for phrase in phrases
        for word in phrase.split()
        if word != "lo-fi"
    }:
        assert TOKENIZER.tokenize(word) == [f"▁{word}"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Lo-Fi Hip-Hop", "lofi hip hop"),
        ("lo fi beat", "lofi beat"),
        ("bells, 120BPM", "bells, 120 bpm"),
        ("four-on-the-floor", "four on the floor"),
    ],
)
def test_other_spellings_are_the_same(typed: str, meant: str) -> None:
    assert TOKENIZER.tokenize(typed) == TOKENIZER.tokenize(meant)


def test_case_makes_no_difference() -> None:
    assert TOKENIZER("CALM Piano")["input_ids"] == TOKENIZER("calm piano")["input_ids"]


def test_other_words_are_spelled() -> None:
    assert TOKENIZER.tokenize("zither!") == ["▁", "z", "i", "t", "h", "e", "r", "!"]
    assert TOKENIZER("é")["input_ids"][-2:] == [TOKENIZER.unk_token_id, TOKENIZER.eos_token_id]
    assert (
        TOKENIZER.decode(TOKENIZER("lofi beat")["input_ids"], skip_special_tokens=True)
        == "lofi beat"
    )
