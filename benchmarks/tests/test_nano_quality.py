"""Tests of the quality benchmark: its prompts, its figures, and its output."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch

from benchmarks import nano_quality, nano_variety
from benchmarks.eval_prompts import BRIGHT_LEADS, EvalPrompt, eval_prompts
from benchmarks.nano_figures import Features, figures, tempo_control
from benchmarks.nano_quality import BARS
from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.config.app import EngineConfig
from tests.conftest import EMBEDDED
from tools.nano.composer import render
from tools.nano.synthesizer import Samples

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


def test_music_of_the_data_reaches_the_figures_of_variety() -> None:
    """The outputs of a perfect model: pieces of the data that end when they are asked to."""

    def generate(texts: Sequence[str], duration_s: float) -> list[Samples]:
        scores = (nano_variety._same_score(100 + number) for number in range(len(texts)))
        return [render(score, duration_s) for score in scores]

    chosen = [prompt for prompt in prompts() if prompt.score.lead in BRIGHT_LEADS][:6]
    short, long = (
        {
            "model": [
                render(dataclasses.replace(prompt.score, length_s=seconds), seconds)
                for prompt in chosen
            ]
        }
        for seconds in (8, 30)
    )
    rows = nano_variety.of_one_prompt(generate)
    rows |= nano_variety.of_all_prompts(chosen, short, long)
    assert rows.keys() == nano_variety.BARS.keys()
    assert nano_variety.missed(rows) == []


def test_a_loop_without_end_misses_the_figures_of_variety() -> None:
    loop = [np.tile(render(prompts()[0].score, 0.5), count) for count in (20, 16, 60)]
    rows = nano_variety.of_one_prompt(lambda texts, _: [loop[0]] * len(texts))
    rows |= nano_variety.of_all_prompts(
        prompts()[:2], {"model": loop[1:2] * 2}, {"model": loop[2:] * 2}
    )
    assert {"distinct_tunes", "seed_similarity", "ending", "ending_30_s", "form"} <= set(
        nano_variety.missed(rows)
    )


def test_outputs_depend_on_the_weights() -> None:
    config = EngineConfig(device="cpu", num_threads=1)
    model, random = (
        nano_quality.prepared(one, config)
        for one in (load_checkpoint(EMBEDDED), nano_quality.untrained(EMBEDDED))
    )
    trained = nano_quality.generate(model, config, ["calm piano", "lofi beat"], 0.5)
    floor = nano_quality.generate(random, config, ["calm piano"], 0.5)
    assert [len(samples) for samples in trained] == [16_000, 16_000]
    assert not np.allclose(trained[0], floor[0], atol=1e-3)


def test_the_last_line_is_json_with_the_bars_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {
        "tempo": {"bar": 0.75, "model": 0.5, "data": 1.0},
        "mode": {"bar": 0.7, "model": 0.7},
        "seed_similarity": {"bar": 0.8, "model": 0.85},
        "loudness_spread": {"bar": 2.0, "model": 1.5},
    }
    monkeypatch.setattr(nano_quality, "measure", lambda *_: found)
    monkeypatch.setattr(sys, "argv", ["nano_quality"])
    nano_quality.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| tempo within 8 %, octaves allowed | 0.75 | 0.5 |  |  | 1 |" in lines
    assert any(line.endswith("| at most 0.8 | 0.85 |  |  |  |") for line in lines)
    assert json.loads(lines[-1])["missed"] == ["tempo", "seed_similarity"]
    assert torch.get_num_threads() == 1
