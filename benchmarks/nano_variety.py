"""Variety, brightness, loudness, endings and form of outputs: figures of `nano_quality`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.eval_prompts import BRIGHT_LEADS, SAME_PROMPT, UNKNOWN_PROMPT, EvalPrompt
from tools.nano import variety
from tools.nano.composer import render
from tools.nano.loudness import loudness
from tools.nano.score import SCALES, Score
from tools.nano.synthesizer import SAMPLE_RATE, Samples

SEEDS = 20
SAME_S = 10.0
STEP_S = 1 / 3  # of melodies at SAME_PROMPT's tempo: half a beat
TARGET_LUFS = -16.0
CENTRAL = 95  # percentile
LEAST_FORM = 0.05
BARS: dict[str, float] = {
    "distinct_tunes": 15,
    "distinct_tunes_unknown_words": 15,
    "seed_similarity": 0.8,
    "brightness": 0.04,
    "loudness_spread": 2.0,
    "ending": 0.9,
    "ending_30_s": 0.9,
    "form": 0.9,
}
AT_MOST = ("seed_similarity", "loudness_spread")  # figures of which less is better
Sounds = Mapping[str, Sequence[Samples]]  # by source: data, codec, model, floor


def missed(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Figures beyond their bars."""
    return [
        name
        for name, row in rows.items()
        if (row["model"] > row["bar"] if name in AT_MOST else row["model"] < row["bar"])
    ]


def of_one_prompt(generate: Callable[[Sequence[str], float], list[Samples]]) -> dict[str, Any]:
    """Rows of SEEDS outputs of SAME_PROMPT, and of a prompt beyond the vocabulary."""
    outputs = generate([SAME_PROMPT] * SEEDS, SAME_S)
    unknown = generate([UNKNOWN_PROMPT] * SEEDS, SAME_S)
    data = [render(_same_score(piece), SAME_S) for piece in range(SEEDS)]
    return {
        "distinct_tunes": _row("distinct_tunes", {"model": _tunes(outputs), "data": _tunes(data)}),
        "distinct_tunes_unknown_words": _row(
            "distinct_tunes_unknown_words", {"model": _tunes(unknown)}
        ),
        "seed_similarity": _row(
            "seed_similarity",
            {"model": variety.similarity(outputs), "data": variety.similarity(data)},
        ),
    }


def _same_score(piece: int) -> Score:
    """A score of SAME_PROMPT."""
    score = Score("C", list(SCALES)[piece % 2], 90, "piano", "soft", 0, piece, int(SAME_S))
    return replace(score, tonic=score.homes[piece // 2 % 2])


def _tunes(tracks: Sequence[Samples]) -> int:
    return variety.distinct([variety.contour(samples, STEP_S) for samples in tracks])


def of_all_prompts(prompts: Sequence[EvalPrompt], short: Sounds, long: Sounds) -> dict[str, Any]:
    """Rows of the outputs of `prompts` in two lengths; the data and its reconstruction end."""
    bright = [n for n, prompt in enumerate(prompts) if prompt.score.lead in BRIGHT_LEADS]
    return {
        "brightness": _row(
            "brightness",
            {
                source: mean(variety.bright_share(sounds[n]) for n in bright)
                for source, sounds in short.items()
            },
        ),
        "loudness_spread": _row("loudness_spread", _by_source(_spread, short)),
        "ending": _row("ending", _by_source(_share_of_endings, short)),
        "ending_30_s": _row("ending_30_s", _by_source(_share_of_endings, long)),
        "form": _row("form", _by_source(_share_with_form, long)),
    }


def _spread(tracks: Sequence[Samples]) -> float:
    """Distance in LU from TARGET_LUFS that CENTRAL percent of the tracks keep."""
    distances = [abs(loudness(samples, SAMPLE_RATE) - TARGET_LUFS) for samples in tracks]
    return float(np.percentile(distances, CENTRAL))


def _share_of_endings(tracks: Sequence[Samples]) -> float:
    return mean(variety.ends(samples) for samples in tracks)


def _share_with_form(tracks: Sequence[Samples]) -> float:
    return mean(variety.form(samples) >= LEAST_FORM for samples in tracks)


def _by_source(measure: Callable[[Sequence[Samples]], float], sounds: Sounds) -> dict[str, float]:
    return {source: measure(tracks) for source, tracks in sounds.items()}


def _row(figure: str, values: Mapping[str, float]) -> dict[str, float]:
    return {"bar": BARS[figure]} | {source: round(value, 3) for source, value in values.items()}
