"""The quality benchmark counts what it says that it counts."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import nano_quality
from benchmarks.nano_quality import BARS, Heard, Wish, figures, wishes
from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config import EngineConfig
from tests.conftest import EMBEDDED

WANTED = wishes()
RANGE = (0.0, 0.1)


def perfect(wish: Wish) -> Heard:
    """What would be heard of an output that is all that was asked for."""
    bright = wish.score.lead in ("bells", "flute")
    return Heard(
        tempo=wish.score.bpm, mode=wish.score.mode, brightness=2000 if bright else 1000,
        loudness=(wish.score.energy + 1) / 10, onsets=8, flatness=0.01, peak=0.8,
    )  # fmt: skip


def test_prompts_are_sixty_and_ask_for_what_is_measured() -> None:
    assert len(WANTED) == len({wish.prompt for wish in WANTED}) == 60
    assert sum(wish.asks_tempo for wish in WANTED) >= 50
    assert sum(wish.asks_mode for wish in WANTED) >= 50
    for start in range(0, 40, 4):
        four = WANTED[start : start + 4]
        assert len({(wish.score.bpm, wish.score.mode, wish.group) for wish in four}) == 1
        assert [wish.score.energy for wish in four] == [0, 2, 0, 2]
        assert {four[0].score.lead, four[2].score.lead} <= {"bells", "flute", "bass", "pad"}


def test_all_as_asked() -> None:
    assert figures(WANTED, [perfect(wish) for wish in WANTED], RANGE) == dict.fromkeys(BARS, 1.0)


@pytest.mark.parametrize(
    ("figure", "wrong"),
    [
        ("tempo", {"tempo": 20.0}),
        ("mode", {"mode": "none"}),
        ("timbre", {"brightness": 100.0}),
        ("energy", {"loudness": 0.5}),
        ("alive", {"onsets": 0}),
        ("alive", {"flatness": 0.2}),
        ("alive", {"peak": 1.0}),
        ("alive", {"loudness": 0.0}),
    ],
)
def test_nothing_as_asked(figure: str, wrong: dict[str, float | str]) -> None:
    heard = [dataclasses.replace(perfect(wish), **wrong) for wish in WANTED]  # type: ignore[arg-type]
    assert figures(WANTED, heard, RANGE)[figure] == 0.0


def test_the_control_is_chance() -> None:
    control = nano_quality.tempo_control(WANTED, [perfect(wish) for wish in WANTED])
    assert 0.1 < control < 0.6


def test_outputs_depend_on_the_weights(nano: Checkpoint) -> None:
    config = EngineConfig(device="cpu", num_threads=1)
    trained = nano_quality.generate(nano, config, ["calm piano", "lofi beat"], 0.5)
    floor = nano_quality.generate(nano_quality.untrained(EMBEDDED), config, ["calm piano"], 0.5)
    assert [len(samples) for samples in trained] == [16_000, 16_000]
    assert not np.allclose(trained[0], floor[0], atol=1e-3)


def test_the_last_line_is_json_with_the_bars_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"tempo": {"bar": 0.75, "model": 0.5, "data": 1.0}, "mode": {"bar": 0.7, "model": 0.7}}
    monkeypatch.setattr(nano_quality, "measure", lambda *_: found)
    monkeypatch.setattr(sys, "argv", ["nano_quality"])
    nano_quality.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| tempo | 0.75 | 0.5 |  |  | 1 |" in lines
    assert json.loads(lines[-1])["missed"] == ["tempo"]
    assert torch.get_num_threads() == 1
