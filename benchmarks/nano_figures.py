"""Agreement of outputs with their prompts: audio features -> shares of correct outputs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from benchmarks.eval_prompts import EvalPrompt
from tools.nano import analysis
from tools.nano.synthesizer import Samples

SILENCE = 1e-3  # root mean square
CLIPPING = 0.999  # peak
SHUFFLES = 200


@dataclass(frozen=True)
class Features:
    """Features of one output, by `analysis`, and its peak."""

    tempo: float
    mode: str
    brightness: float
    loudness: float
    onsets: int
    flatness: float
    peak: float


def features_of(samples: Samples) -> Features:
    return Features(
        tempo=analysis.tempo(samples),
        mode=analysis.mode(samples),
        brightness=analysis.brightness(samples),
        loudness=analysis.loudness(samples),
        onsets=analysis.onsets(samples),
        flatness=analysis.flatness(samples),
        peak=float(np.abs(samples).max()),
    )


def figures(
    prompts: Sequence[EvalPrompt], outputs: Sequence[Features], flatness: tuple[float, float]
) -> dict[str, float]:
    """Shares of correct outputs (tempo, mode, alive) and of correctly ordered pairs of a group.

    flatness: range of spectral flatness in the training data.
    """
    both = list(zip(prompts, outputs, strict=True))
    timbre, energy = _orders(_groups(prompts, outputs))
    return {
        "tempo": mean(analysis.same_tempo(o.tempo, p.score.bpm) for p, o in both if p.names_tempo),
        "timbre": timbre,
        "mode": mean(o.mode == p.score.mode for p, o in both if p.names_mode),
        "energy": energy,
        "alive": mean(_alive(output, flatness) for output in outputs),
    }


def _orders(groups: Sequence[Sequence[Features]]) -> tuple[float, float]:
    """Shares of pairs with the brighter lead brighter, and with the higher energy louder."""
    timbre: list[bool] = []
    energy: list[bool] = []
    for bright_calm, bright_loud, dark_calm, dark_loud in groups:
        timbre.append(bright_calm.brightness > dark_calm.brightness)
        timbre.append(bright_loud.brightness > dark_loud.brightness)
        energy.append(bright_loud.loudness > bright_calm.loudness)
        energy.append(dark_loud.loudness > dark_calm.loudness)
    return mean(timbre), mean(energy)


def _groups(prompts: Sequence[EvalPrompt], outputs: Sequence[Features]) -> list[list[Features]]:
    """Outputs of each group of four, in the order of `eval_prompts`."""
    groups: dict[int, list[Features]] = {}
    for prompt, output in zip(prompts, outputs, strict=True):
        if prompt.group is not None:
            groups.setdefault(prompt.group, []).append(output)
    return list(groups.values())


def _alive(output: Features, flatness: tuple[float, float]) -> bool:
    """Neither silent nor clipping, neither a constant tone nor noise."""
    audible = output.loudness > SILENCE and output.peak < CLIPPING
    return audible and output.onsets > 0 and flatness[0] <= output.flatness <= flatness[1]


def tempo_control(prompts: Sequence[EvalPrompt], outputs: Sequence[Features]) -> float:
    """Chance level of `tempo`: outputs paired with other outputs' prompts, at random."""
    both = zip(prompts, outputs, strict=True)
    pairs = [(prompt.score.bpm, output.tempo) for prompt, output in both if prompt.names_tempo]
    rng = random.Random(0)
    shares = []
    for _ in range(SHUFFLES):
        shuffled = zip(pairs, rng.sample(pairs, len(pairs)), strict=True)
        shares.append(mean(analysis.same_tempo(tempo, bpm) for (bpm, _), (_, tempo) in shuffled))
    return mean(shares)
