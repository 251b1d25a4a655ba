"""Additive synthesis of tones in nine distinct timbres, and of drums."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 32_000
FRAME_RATE = 50  # of the codec trained on these sounds
FRAME = SAMPLE_RATE // FRAME_RATE  # samples
Samples = NDArray[np.float32]


RELEASE_S = 0.03  # a note ends before the next one begins
FADE_DB = 20.0  # decay over the whole note, so that its length is audible before its end
MISTUNING = 0.009  # largest relative deviation from equal temperament: 15 cents
HIGHEST_PARTIAL_HZ = 14_000  # partials above are left out


@dataclass(frozen=True)
class Timbre:
    """Recipe of a tone.

    partials: (frequency ratio, amplitude, decay per second) each; attack_s: rise of the envelope.
    """

    partials: tuple[tuple[float, float, float], ...]
    attack_s: float


def _harmonics(
    amplitudes: list[float], decay: float, damping: float = 0.0
) -> tuple[tuple[float, float, float], ...]:
    """Partials at 1, 2, 3, ... times the pitch. `damping` makes higher partials decay faster."""
    return tuple((h + 1.0, a, decay * (1 + damping * h)) for h, a in enumerate(amplitudes) if a)


TIMBRES = {
    "piano": Timbre(_harmonics([1, 0.5, 0.3, 0.15, 0.08, 0.04], 2.2, 0.35), 0.004),
    "guitar": Timbre(_harmonics([1, 0.65, 0.5, 0.35, 0.22, 0.15, 0.1], 3.5, 0.3), 0.003),
    "bells": Timbre(((1.0, 0.9, 1.6), (2.5, 0.6, 2.2), (5.5, 0.4, 3.2), (9.0, 0.15, 5.0)), 0.002),
    "flute": Timbre(_harmonics([1, 0.4, 0.2, 0.08], 0.0), 0.04),
    "organ": Timbre(_harmonics([1, 0.8, 0.0, 0.5, 0.0, 0.3, 0.0, 0.25], 0.0), 0.01),
    "strings": Timbre(_harmonics([1, 0.5, 0.33, 0.25, 0.2, 0.16, 0.12, 0.1], 0.0), 0.06),
    "pad": Timbre(_harmonics([1, 0.25, 0.06], 0.3), 0.08),
    "lead": Timbre(_harmonics([1, 0, 0.5, 0, 0.35, 0, 0.25, 0, 0.18, 0, 0.12], 0.0), 0.005),
    "bass": Timbre(_harmonics([1, 0.45, 0.15, 0.05], 1.2, 0.4), 0.006),
}


@lru_cache(maxsize=4096)
def tone(timbre: str, midi: int, frames: int) -> Samples:
    """Synthesize a note of `frames` frames, release included, with a peak of about 1."""
    recipe = TIMBRES[timbre]
    pitch = frequency(midi)
    t = np.arange(frames * FRAME) / SAMPLE_RATE
    y = np.zeros(len(t))
    for ratio, amplitude, decay in recipe.partials:
        if pitch * ratio < HIGHEST_PARTIAL_HZ:
            y += amplitude * np.exp(-decay * t) * np.sin(2 * np.pi * pitch * ratio * t)
    left = 1 - t / t[-1]
    envelope = np.minimum(1.0, t / recipe.attack_s) * np.minimum(1.0, left * t[-1] / RELEASE_S)
    envelope *= 10 ** (-FADE_DB * (1 - left) / 20)
    return np.asarray(y * envelope / sum(a for _, a, _ in recipe.partials), np.float32)


def frequency(midi: int) -> float:
    """Frequency in Hz, detuned so that the waveform repeats after few codec frames."""
    tempered = 440.0 * 2 ** ((midi - 69) / 12)
    grid: float = FRAME_RATE
    while abs(round(tempered / grid) * grid / tempered - 1) > MISTUNING:
        grid /= 2
    return round(tempered / grid) * grid


@lru_cache(maxsize=16)
def drum(name: str) -> Samples:
    """Synthesize a `kick`, `snare`, `hat` or `shaker`."""
    noise = np.random.default_rng(hash_name(name)).standard_normal(SAMPLE_RATE // 3)
    t = np.arange(len(noise)) / SAMPLE_RATE
    bright = np.diff(noise, prepend=0.0)
    if name == "kick":
        y = np.sin(2 * np.pi * (45 * t + 9 * (1 - np.exp(-t * 28)))) * np.exp(-t * 14)
    elif name == "snare":
        y = 0.5 * np.sin(2 * np.pi * 190 * t) * np.exp(-t * 28) + 0.15 * noise * np.exp(-t * 22)
    elif name == "hat":
        y = 0.1 * bright * np.exp(-t * 70)
    else:
        y = 0.1 * bright * np.exp(-((t - 0.02) ** 2) * 2500)
    return np.asarray(y, np.float32)


def hash_name(name: str) -> int:
    """Hash that, unlike `hash`, is the same in every process."""
    return int.from_bytes(name.encode(), "little") % 2**32
