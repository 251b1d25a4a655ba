"""Additive synthesis of tones in thirteen timbres with noise at their attack, and of drums."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 32_000
FRAME_RATE = 50  # of the codec trained on these sounds
FRAME = SAMPLE_RATE // FRAME_RATE  # samples
Samples = NDArray[np.float32]
Partials = tuple[tuple[float, float, float], ...]

RELEASE_S = 0.03  # a note ends before the next one begins
FADE_DB = 9.0  # decay over the whole note, so that its length is audible before its end
MISTUNING = 0.009  # largest relative deviation from equal temperament: 15 cents
HIGHEST_PARTIAL_HZ = 11_000  # partials above are left out
LONGEST_S = 4.0
NOISE_DECAY = 90.0  # of the attack's noise, per second


@dataclass(frozen=True)
class Timbre:
    """Recipe of a tone.

    partials: (frequency ratio, amplitude, decay per second) each; attack_s: rise of the envelope;
    noise: amplitude of the attack's noise; formant_hz: partials around it are FORMANT times louder.
    """

    partials: Partials
    attack_s: float
    noise: float = 0.0
    formant_hz: float | None = None


FORMANT = 3.0
FORMANT_WIDTH_HZ = 1200.0


def _harmonics(slope: float, decay: float, damping: float, odd: bool = False) -> Partials:
    """Partials at 1, 2, 3, ... times the pitch, or at odd multiples, falling as h**-slope.

    damping: higher partials decay faster.
    """
    return tuple((float(h), h**-slope, decay * (1 + damping * h)) for h in range(1, 48, 1 + odd))


TIMBRES = {
    "piano": Timbre(_harmonics(1.3, 1.2, 0.12), 0.004, 0.25, 2800),
    "guitar": Timbre(_harmonics(1.05, 2.0, 0.1), 0.003, 0.4, 3200),
    "harp": Timbre(_harmonics(1.2, 2.6, 0.2), 0.002, 0.15, 4200),
    "bells": Timbre(
        (
            (1.0, 0.8, 1.2), (2.5, 0.6, 1.6), (4.0, 0.3, 1.8), (5.5, 0.5, 2.0), (7.5, 0.35, 2.4),
            (9.0, 0.4, 2.8), (12.0, 0.25, 3.2), (14.5, 0.2, 4.0),
        ),
        0.002, 0.3,
    ),
    "marimba": Timbre(
        ((1.0, 1.0, 4.0), (4.0, 0.4, 8.0), (10.0, 0.2, 14.0), (16.0, 0.1, 20.0)), 0.002, 0.5
    ),
    "flute": Timbre(_harmonics(1.5, 0.0, 0.0), 0.03, 0.3, 3600),
    "trumpet": Timbre(_harmonics(0.7, 0.0, 0.0), 0.012, 0.2, 2600),
    "organ": Timbre(
        tuple((float(h), h**-0.7, 0.0) for h in (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)), 0.008, 0.1
    ),
    "epiano": Timbre(
        ((1.0, 1.0, 1.0), (2.0, 0.25, 1.5), (7.0, 0.3, 4.0), (14.0, 0.2, 6.0)), 0.003, 0.2
    ),
    "strings": Timbre(_harmonics(0.95, 0.0, 0.0), 0.04, 0.1, 3000),
    "pad": Timbre(_harmonics(2.2, 0.2, 0.0), 0.06),
    "lead": Timbre(_harmonics(0.8, 0.0, 0.0, odd=True), 0.004, 0.1, 4000),
    "bass": Timbre(_harmonics(1.7, 0.8, 0.05), 0.005, 0.2),
}  # fmt: skip


@lru_cache(maxsize=8192)
def tone(timbre: str, midi: int, frames: int) -> Samples:
    """Synthesize a note of `frames` frames, release included, with a peak of about 1."""
    frames = min(frames, int(LONGEST_S * FRAME_RATE))
    t = np.arange(frames * FRAME) / SAMPLE_RATE
    left_s = t[-1] - t
    envelope = np.minimum(1.0, t / TIMBRES[timbre].attack_s) * np.minimum(1.0, left_s / RELEASE_S)
    envelope *= 10 ** (-FADE_DB * (t / t[-1]) / 20)
    return np.asarray(_sustained(timbre, midi)[: len(t)] * envelope, np.float32)


@lru_cache(maxsize=1024)
def _sustained(timbre: str, midi: int) -> Samples:
    """LONGEST_S of a tone with its noise, without attack and release."""
    recipe = TIMBRES[timbre]
    pitch = frequency(midi)
    t = np.arange(int(LONGEST_S * SAMPLE_RATE)) / SAMPLE_RATE
    y = np.zeros(len(t))
    power = 0.0
    for ratio, amplitude, decay in recipe.partials:
        hz = pitch * ratio
        if hz < HIGHEST_PARTIAL_HZ:
            level = amplitude * _formant(hz, recipe.formant_hz)
            power += level**2
            # Phases of the square of the partial's number: a low crest factor (Schroeder, 1970).
            y += level * np.exp(-decay * t) * np.sin(2 * np.pi * hz * t + ratio**2)
    noise = np.random.default_rng(hash_name(timbre)).standard_normal(len(t))
    y += 0.6 * recipe.noise * np.diff(noise, prepend=0.0) * np.exp(-NOISE_DECAY * t)
    return np.asarray(0.5 * y / power**0.5, np.float32)


def _formant(hz: float, centre_hz: float | None) -> float:
    if centre_hz is None:
        return 1.0
    return 1.0 + (FORMANT - 1) * float(np.exp(-(((hz - centre_hz) / FORMANT_WIDTH_HZ) ** 2)))


def frequency(midi: int) -> float:
    """Frequency in Hz, detuned so that the waveform repeats after few codec frames."""
    tempered = 440.0 * 2 ** ((midi - 69) / 12)
    grid: float = FRAME_RATE
    while abs(round(tempered / grid) * grid / tempered - 1) > MISTUNING:
        grid /= 2
    return round(tempered / grid) * grid


@lru_cache(maxsize=1)
def drums() -> dict[str, Samples]:
    """Synthesize the drums by name."""
    noise = np.random.default_rng(hash_name("drums")).standard_normal(SAMPLE_RATE // 2)
    t = np.arange(len(noise)) / SAMPLE_RATE
    bright = np.diff(noise, prepend=0.0)

    def sine(hz: float, sweep: float = 0.0, speed: float = 1.0) -> NDArray[np.float64]:
        """A sine that falls to `hz` through `sweep` more periods."""
        return np.asarray(np.sin(2 * np.pi * (hz * t + sweep * (1 - np.exp(-t * speed)))))

    def decay(rate: float) -> NDArray[np.float64]:
        return np.asarray(np.exp(-t * rate))

    metal = bright + sine(3150) + sine(4450) + sine(6300)
    sounds = {
        "kick": 0.6 * sine(45, 9, 28) * decay(14) + 0.1 * bright * decay(400),
        "snare": 0.5 * sine(200) * decay(28) + 0.12 * (noise + bright) * decay(22),
        "clap": 0.2 * bright * decay(30) * (0.5 + 0.5 * np.cos(200 * np.pi * np.minimum(t, 0.03))),
        "hat": 0.14 * bright * decay(70),
        "open_hat": 0.12 * bright * decay(14),
        "shaker": 0.12 * bright * np.exp(-((t - 0.02) ** 2) * 2500),
        "tom": 0.5 * sine(100, 4, 20) * decay(12),
        "ride": 0.05 * metal * decay(9),
        "crash": 0.16 * bright * decay(6),
    }
    return {name: np.asarray(sound, np.float32) for name, sound in sounds.items()}


def hash_name(name: str) -> int:
    """Hash that, unlike `hash`, is the same in every process."""
    return int.from_bytes(name.encode(), "little") % 2**32
