"""Short pieces of music from a seed: key, mode, tempo, chords, melody, bass and drums -> samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tools.nano.synthesizer import SAMPLE_RATE, Samples, drum, tone

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Progressions by degrees of the scale; each begins on the tonic and keeps to the mode's own colour.
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (0, 3, 0, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 3, 0, 6)),
}
LEADS = ("piano", "guitar", "bells", "flute", "organ", "strings", "pad", "lead", "bass")
REGISTER = {"bells": 86, "flute": 88, "bass": 40, "pad": 53, "strings": 64}  # the melody's middle; others: 67
GROOVES = ("none", "soft", "straight", "four", "syncopated")
# Steps of a bar's sixteen that each drum is hit on.
PATTERNS: dict[str, dict[str, tuple[int, ...]]] = {
    "none": {},
    "soft": {"kick": (0, 8), "shaker": (0, 4, 8, 12)},
    "straight": {"kick": (0, 8), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
    "four": {"kick": (0, 4, 8, 12), "snare": (4, 12), "hat": (2, 6, 10, 14)},
    "syncopated": {"kick": (0, 6, 8, 11), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
}


@dataclass(frozen=True)
class Score:
    """What a piece is. energy: 0 (calm) to 2 (energetic): it sets loudness, density and drums."""

    tonic: int
    mode: str
    bpm: int
    lead: str
    groove: str
    energy: int
    seed: int


@dataclass(frozen=True)
class Note:
    """A tone to play: when and how long in beats, and how loud."""

    timbre: str
    midi: int
    start: float
    length: float
    gain: float


def random_score(seed: int) -> Score:
    rng = np.random.default_rng([seed, 1])
    energy = int(rng.integers(3))
    grooves = {0: ("none", "soft"), 1: ("soft", "straight", "four"), 2: ("straight", "four", "syncopated")}[energy]
    return Score(
        tonic=int(rng.integers(12)),
        mode=str(rng.choice(["major", "minor"])),
        bpm=int(rng.integers(60, 181)),
        lead=str(rng.choice(LEADS)),
        groove=str(rng.choice(grooves)),
        energy=energy,
        seed=seed,
    )


def render(score: Score, duration_s: float) -> Samples:
    """The piece's first `duration_s` seconds: float32 [n], peak below 1."""
    n = int(duration_s * SAMPLE_RATE)
    y = np.zeros(n + SAMPLE_RATE * 4, np.float32)
    beat_s = 60 / score.bpm
    bars = int(duration_s / (4 * beat_s)) + 1
    rng = np.random.default_rng([score.seed, 2])
    for note in _notes(score, bars, rng):
        length_ms = round(note.length * beat_s * 100) * 10
        _add(y, tone(note.timbre, note.midi, length_ms), note.start * beat_s, note.gain)
    for bar in range(bars):
        for name, steps in PATTERNS[score.groove].items():
            for step in steps:
                accent = 1.0 if step % 4 == 0 else 0.5
                _add(y, drum(name), (4 * bar + step / 4) * beat_s, 0.5 * accent)
    return (np.tanh(y[:n]) * (0.3, 0.55, 0.9)[score.energy]).astype(np.float32)


def _notes(score: Score, bars: int, rng: np.random.Generator) -> Iterator[Note]:
    progressions = PROGRESSIONS[score.mode]
    progression = progressions[rng.integers(len(progressions))]
    motif = rng.integers(0, 3, 8), rng.random(8)
    for bar in range(bars):
        degree = progression[bar % 4]
        yield from _chords(score, bar, degree)
        yield from _bass(score, bar, degree)
        yield from _melody(score, bar, degree, motif)


def _pitch(score: Score, degree: int, near: int) -> int:
    """The MIDI number of a degree of the scale, in the octave closest to `near`."""
    scale = SCALES[score.mode]
    pitch_class = (score.tonic + scale[degree % 7]) % 12
    return near + (pitch_class - near + 6) % 12 - 6


def _chords(score: Score, bar: int, degree: int) -> Iterator[Note]:
    """A triad: held where the piece is calm, on every other beat where it is not. A bass piece is left bare."""
    if score.lead == "bass":
        return
    timbre = {"organ": "organ", "strings": "strings", "bells": "pad", "flute": "pad"}.get(score.lead, "pad")
    hits = (0.0,) if score.energy == 0 else (0.0, 2.0)
    for start in hits:
        for interval in (0, 2, 4):
            midi = _pitch(score, degree + interval, 58)
            yield Note(timbre, midi, 4 * bar + start, 4 / len(hits) - 0.1, 0.16)


def _bass(score: Score, bar: int, degree: int) -> Iterator[Note]:
    starts = {0: (0.0,), 1: (0.0, 2.0), 2: (0.0, 1.0, 2.0, 3.0)}[score.energy]
    gain = 0.45 if score.lead == "bass" else 0.3
    for start in starts:
        yield Note("bass", _pitch(score, degree, 38), 4 * bar + start, 0.9 if len(starts) > 1 else 2.0, gain)


def _melody(score: Score, bar: int, degree: int, motif: tuple[np.ndarray, np.ndarray]) -> Iterator[Note]:
    """A motif of eight eighths, moved to each bar's chord; calm pieces leave out what is off the beat."""
    choices, chances = motif
    density = (0.0, 0.45, 0.8)[score.energy]
    for eighth in range(8):
        on_beat = eighth % 2 == 0
        if not on_beat and chances[eighth] > density:
            continue
        interval = int(choices[eighth]) * 2
        midi = _pitch(score, degree + interval, REGISTER.get(score.lead, 67))
        length = 0.95 if on_beat and density < 0.6 else 0.48
        yield Note(score.lead, midi, 4 * bar + eighth / 2, length, 0.6 if on_beat else 0.38)


def _add(y: Samples, sound: Samples, start_s: float, gain: float) -> None:
    start = round(start_s * SAMPLE_RATE)
    end = min(len(y), start + len(sound))
    if start < end:
        y[start:end] += gain * sound[: end - start]
