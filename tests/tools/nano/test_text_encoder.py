"""Tests of the text encoder's training: it learns, it resumes, and it exports a T5 encoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, T5EncoderModel

from tools.nano import text_encoder, training
from tools.nano.prompts import random_example
from tools.nano.score import BEATS, Score


def history(folder: Path) -> Any:
    return torch.load(folder / "text.pt", weights_only=True)["history"]


def test_an_interrupted_training_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LOG_EVERY", 2)
    text_encoder.train(tmp_path, steps=2, examples=8)
    text_encoder.train(tmp_path, steps=4, examples=8)
    assert [step for step, *_ in history(tmp_path)] == [2, 4]
    assert (tmp_path / "text.png").read_bytes().startswith(b"\x89PNG")
    encoder = T5EncoderModel.from_pretrained(tmp_path / "text_encoder")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "text_encoder")(
        "calm piano, 70 bpm", return_tensors="pt"
    )
    assert encoder(**tokens).last_hidden_state.shape == (1, 6, text_encoder.SIZE["d_model"])


@pytest.mark.long
def test_training_classifies_prompts(tmp_path: Path) -> None:
    text_encoder.train(tmp_path, steps=100, examples=50)
    right = dict(zip(text_encoder.ASPECTS, history(tmp_path)[-1][2:], strict=True))
    assert right["lead"] > 0.8
    assert right["energy"] > 0.8


def test_every_score_has_labels() -> None:
    for seed in range(300):
        labels = text_encoder.labels_of(random_example(seed)[0])
        assert len(labels) == len(text_encoder.ASPECTS)
    for bpm in (60, 180):
        score = Score(tonic="C", mode="major", bpm=bpm, lead="pad", groove="none", energy=0)
        assert text_encoder.labels_of(score)[0] in (0, len(BEATS) - 1)
