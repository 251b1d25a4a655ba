"""The embedded model's tokenizer."""

import pytest

from tools.nano.prompts import random_piece
from tools.nano.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer()


@pytest.mark.parametrize("bpm", range(60, 181))
def test_a_tempo_is_one_token(bpm: int) -> None:
    assert TOKENIZER.tokenize(f"calm piano, {bpm} bpm") == ["▁calm", "▁piano", ",", f"▁{bpm}", "▁bpm"]


def test_words_of_prompts_are_one_token_each() -> None:
    for seed in range(50):
        prompt = random_piece(seed)[1]
        assert len(TOKENIZER.tokenize(prompt)) == len(prompt.replace(",", " ,").split())


def test_case_makes_no_difference() -> None:
    assert TOKENIZER("CALM Piano")["input_ids"] == TOKENIZER("calm piano")["input_ids"]


def test_other_words_are_spelled() -> None:
    assert TOKENIZER.tokenize("zither!") == ["▁", "z", "i", "t", "h", "e", "r", "!"]
    assert TOKENIZER("é")["input_ids"][-2:] == [TOKENIZER.unk_token_id, TOKENIZER.eos_token_id]
    assert TOKENIZER.decode(TOKENIZER("lofi beat")["input_ids"], skip_special_tokens=True) == "lofi beat"
