"""Tests of the quality benchmark: its prompts, its figures, and its output."""

import dataclasses
import json
import sys
from functools import cache

import numpy as np
import pytest
import torch

from benchmarks import nano_quality
from benchmarks.eval_prompts import EvalPrompt, eval_prompts
from benchmarks.nano_figures import Features, figures, tempo_control
from benchmarks.nano_quality import BARS
from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from tests.conftest import EMBEDDED

FLATNESS = (0.0, 0.1)


@cache
def prompts() -> list[EvalPrompt]:
    return eval_prompts()


def perfect(prompt: EvalPrompt) -> Features:
    """Features of an output that follows its prompt."""
    return Features(
        tempo=prompt.score.bpm,
        mode=prompt.score.mode,
        brightness=2000 if prompt.score.lead in ("bells", "flute") else 1000,
        loudness=(prompt.score.energy + 1) / 10,
        onsets=8,
        flatness=0.01,
        peak=0.8,
    )


def test_sixty_prompts_name_the_measured_properties() -> None:
    assert len(prompts()) == len({prompt.prompt for prompt in prompts()}) == 60
    assert sum(prompt.names_tempo for prompt in prompts()) >= 50
    assert sum(prompt.names_mode for prompt in prompts()) >= 50


def test_prompts_of_a_group_differ_in_lead_and_energy_alone() -> None:
    for start in range(0, 40, 4):
        four = prompts()[start : start + 4]
        shared = {(prompt.score.bpm, prompt.score.mode, prompt.group) for prompt in four}
        assert len(shared) == 1
        assert [prompt.score.energy for prompt in four] == [0, 2, 0, 2]
        assert {four[0].score.lead, four[2].score.lead} <= {"bells", "flute", "bass", "pad"}


def test_perfect_outputs_reach_every_figure() -> None:
    outputs = [perfect(prompt) for prompt in prompts()]
    assert figures(prompts(), outputs, FLATNESS) == dict.fromkeys(BARS, 1.0)


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
def test_a_wrong_feature_misses_its_figure(figure: str, wrong: dict[str, float | str]) -> None:
    outputs = [
        dataclasses.replace(perfect(prompt), **wrong)  # type: ignore[arg-type]
        for prompt in prompts()
    ]
    assert figures(prompts(), outputs, FLATNESS)[figure] == 0.0


def test_the_control_is_chance() -> None:
    control = tempo_control(prompts(), [perfect(prompt) for prompt in prompts()])
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
