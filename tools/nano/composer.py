"""Synthetic music for training: score (key, mode, tempo, lead, drums) -> samples.

The music is simple enough for a model of a few million parameters:
- Monophonic: the lead plays arpeggios, the bass answers, one pitched note sounds at a time.
- Each note starts on a codec frame, so that a note has the same codes wherever it is played.
- A beat has one of nine lengths in frames, which matches the tempo to within 8 %.
- Slow tracks have two notes a beat. There are five note lengths, none of them long.
- Each lead has its own tune, and its own key unless the prompt names another, so that the prompt
  determines every note.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tools.nano.synthesizer import FRAME, FRAME_RATE, SAMPLE_RATE, Samples, drum, tone

BEATS = (16, 18, 21, 24, 28, 32, 36, 42, 48)  # frames
SLOW_BEAT = 28  # frames; a beat of this length or longer has two notes
TONICS = {"C": 0, "D": 2, "E": 4, "A": 9}  # name: pitch class
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Scale degrees of each bar's chord. All chords have the scale's own mode. The tonic recurs often,
# to establish the key early.
PROGRESSIONS = ((0, 0, 3, 0), (0, 3, 0, 0), (0, 0, 4, 0), (0, 3, 0, 4))
MOTIFS = ((0, 1, 2, 2), (0, 1, 2, 0), (0, 2, 0, 1))  # indices into the chord's notes, repeated
LEADS = ("piano", "guitar", "bells", "flute", "organ", "strings", "pad", "lead", "bass")
# Central MIDI number of a lead.
REGISTER = {"bells": 74, "flute": 74, "bass": 40, "pad": 53, "strings": 62}
DEFAULT_REGISTER = 65
BASS_REGISTER = 40
LOUDNESS = (0.35, 0.6, 0.9)  # gain by energy
GROOVES = ("none", "soft", "straight", "four", "syncopated")
# Sixteenth notes of the bar on which each drum plays.
PATTERNS: dict[str, dict[str, tuple[int, ...]]] = {
    "none": {},
    "soft": {"kick": (0, 8), "shaker": (0, 4, 8, 12)},
    "straight": {"kick": (0, 8), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
    "four": {"kick": (0, 4, 8, 12), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
    "syncopated": {"kick": (0, 6, 10), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
}


@dataclass(frozen=True)
class Score:
    """Parameters of a track. energy: 0 (calm) to 2 (energetic), sets loudness and drums."""

    tonic: str
    mode: str
    bpm: int
    lead: str
    groove: str
    energy: int

    @property
    def home(self) -> str:
        """Default tonic of the lead and mode, used where the prompt names no key."""
        return list(TONICS)[(LEADS.index(self.lead) + 2 * (self.mode == "minor")) % len(TONICS)]

    @property
    def beat(self) -> int:
        """Length of a beat in frames."""
        asked = 60 * FRAME_RATE / self.bpm
        return min(BEATS, key=lambda beat: max(beat / asked, asked / beat))

    def in_frames(self) -> "Score":
        """The score with `bpm` quantized to the beat. Scores that render alike compare equal."""
        return replace(self, bpm=60 * FRAME_RATE // self.beat)


@dataclass(frozen=True)
class Note:
    """One note or chord. start, length: in eighth notes."""

    timbre: str
    midi: tuple[int, ...]
    start: int
    length: int


def random_score(seed: int) -> Score:
    """Draw a score. The energy limits the choice of drums."""
    rng = np.random.default_rng([seed, 1])
    energy = int(rng.integers(3))
    grooves = {
        0: ("none", "soft"),
        1: ("soft", "straight", "four"),
        2: ("straight", "four", "syncopated"),
    }[energy]
    return Score(
        tonic=str(rng.choice(list(TONICS))),
        mode=str(rng.choice(["major", "minor"])),
        bpm=int(rng.integers(60, 181)),
        lead=str(rng.choice(LEADS)),
        groove=str(rng.choice(grooves)),
        energy=energy,
    )


def render(score: Score, duration_s: float) -> Samples:
    """Render the first `duration_s` seconds: float32 [n], peak below 1."""
    y = np.zeros(int(duration_s * SAMPLE_RATE), np.float32)
    bars = int(duration_s * FRAME_RATE / (4 * score.beat)) + 1
    for note in _notes(score, bars):
        start, end = (eighth * score.beat // 2 for eighth in (note.start, note.start + note.length))
        for midi in note.midi:
            _add(y, tone(note.timbre, midi, end - start), start, 0.6 / len(note.midi) ** 0.5)
    for bar in range(bars):
        for name, steps in PATTERNS[score.groove].items():
            for step in steps:
                _add(y, drum(name), (16 * bar + step) * score.beat // 4, 0.4)
    return y * LOUDNESS[score.energy]


def _notes(score: Score, bars: int) -> Iterator[Note]:
    """Arpeggiate the chords by the lead's motif. The bass plays in the middle of each bar."""
    tune = LEADS.index(score.lead)
    progression = PROGRESSIONS[tune % len(PROGRESSIONS)]
    motif = MOTIFS[tune % len(MOTIFS)]
    length = 1 if score.beat >= SLOW_BEAT else 2
    for bar in range(bars):
        for number, start in enumerate(range(0, 8, length)):
            bass = score.lead != "pad" and start == 4
            yield Note(
                timbre="bass" if bass else score.lead,
                midi=_pitches(score, progression[bar % 4], motif[number % 4], bass=bass),
                start=8 * bar + start,
                length=length,
            )


def _pitches(score: Score, degree: int, step: int, *, bass: bool) -> tuple[int, ...]:
    """MIDI numbers: the root for the bass, the whole chord for a pad, one chord note otherwise."""
    if bass:
        return (_pitch(score, degree, BASS_REGISTER),)
    near = REGISTER.get(score.lead, DEFAULT_REGISTER)
    chord = tuple(_pitch(score, degree + interval, near) for interval in (0, 2, 4))
    return chord if score.lead == "pad" else (chord[step],)


def _pitch(score: Score, degree: int, near: int) -> int:
    """MIDI number of a scale degree, in the octave closest to `near`."""
    scale = SCALES[score.mode]
    pitch_class = (TONICS[score.tonic] + scale[degree % 7]) % 12
    return near + (pitch_class - near + 6) % 12 - 6


def _add(y: Samples, sound: Samples, frame: int, gain: float) -> None:
    """Mix `sound` into `y` from `frame` on, in place."""
    start = frame * FRAME
    end = min(len(y), start + len(sound))
    if start < end:
        y[start:end] += gain * sound[: end - start]
