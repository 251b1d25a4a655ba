"""Short pieces of music from a seed: key, mode, tempo, chords, melody, bass and drums -> samples.

Made to be learnt by a model of a few million parameters: one pitched sound is heard at a time (the lead breaks the
chords, the bass answers it), and each begins on one of the codec's frames, so that a note is the same codes wherever it
is played. A beat is one of a few numbers of frames: the tempo is right within 8 %. Slow pieces have two notes a beat:
there are five lengths of notes, and what has to be counted never gets long. Each timbre has its own tune, and its own
key wherever none is asked for: once the prompt is known, so is each note.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tools.nano.synthesizer import FRAME, FRAME_RATE, SAMPLE_RATE, Samples, drum, tone

BEATS = (16, 18, 21, 24, 28, 32, 36, 42, 48)  # frames
SLOW_BEAT = 28  # frames; from there on each beat has two notes
TONICS = {"C": 0, "D": 2, "E": 4, "A": 9}  # name: pitch class
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# By degrees of the scale whose chords are all of its mode; the tonic comes back so often that the key is heard soon.
PROGRESSIONS = ((0, 0, 3, 0), (0, 3, 0, 0), (0, 0, 4, 0), (0, 3, 0, 4))
MOTIFS = ((0, 1, 2, 2), (0, 1, 2, 0), (0, 2, 0, 1))  # of the chord's notes, over and over
LEADS = ("piano", "guitar", "bells", "flute", "organ", "strings", "pad", "lead", "bass")
REGISTER = {
    "bells": 74,
    "flute": 74,
    "bass": 40,
    "pad": 53,
    "strings": 62,
}  # the lead's middle; others: 65
BASS_REGISTER = 40
LOUDNESS = (0.35, 0.6, 0.9)  # by energy
GROOVES = ("none", "soft", "straight", "four", "syncopated")
# Steps of a bar's sixteen that each drum is hit on.
PATTERNS: dict[str, dict[str, tuple[int, ...]]] = {
    "none": {},
    "soft": {"kick": (0, 8), "shaker": (0, 4, 8, 12)},
    "straight": {"kick": (0, 8), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
    "four": {"kick": (0, 4, 8, 12), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
    "syncopated": {"kick": (0, 6, 10), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
}


@dataclass(frozen=True)
class Score:
    """What a piece is. energy: 0 (calm) to 2 (energetic): it sets loudness and drums."""

    tonic: str
    mode: str
    bpm: int
    lead: str
    groove: str
    energy: int

    @property
    def home(self) -> str:
        """The tonic of a prompt that names none: the lead's, one in major and another in minor."""
        return list(TONICS)[(LEADS.index(self.lead) + 2 * (self.mode == "minor")) % len(TONICS)]

    @property
    def beat(self) -> int:
        """A beat's length in frames."""
        asked = 60 * FRAME_RATE / self.bpm
        return min(BEATS, key=lambda beat: max(beat / asked, asked / beat))

    def in_frames(self) -> "Score":
        """The same music, of the tempo that it has in frames: equal for all tempos that become the same beat."""
        return replace(self, bpm=60 * FRAME_RATE // self.beat)


@dataclass(frozen=True)
class Note:
    """A sound to play: which, at what pitches, and when and how long in eighths of a bar."""

    timbre: str
    midi: tuple[int, ...]
    start: int
    length: int


def random_score(seed: int) -> Score:
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
    """The piece's first `duration_s` seconds: float32 [n], peak below 1."""
    n = int(duration_s * SAMPLE_RATE)
    y = np.zeros(n, np.float32)
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
    """The lead plays the chords' notes, by the motif it has; in the middle of each bar the bass answers."""
    tune = LEADS.index(score.lead)
    progression, motif = PROGRESSIONS[tune % len(PROGRESSIONS)], MOTIFS[tune % len(MOTIFS)]
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
    """MIDI numbers: the chord's root as bass, all of it as pad, or else one of its notes."""
    if bass:
        return (_pitch(score, degree, BASS_REGISTER),)
    near = REGISTER.get(score.lead, 65)
    chord = tuple(_pitch(score, degree + interval, near) for interval in (0, 2, 4))
    return chord if score.lead == "pad" else (chord[step],)


def _pitch(score: Score, degree: int, near: int) -> int:
    """The MIDI number of a degree of the scale, in the octave closest to `near`."""
    scale = SCALES[score.mode]
    pitch_class = (TONICS[score.tonic] + scale[degree % 7]) % 12
    return near + (pitch_class - near + 6) % 12 - 6


def _add(y: Samples, sound: Samples, frame: int, gain: float) -> None:
    start = frame * FRAME
    end = min(len(y), start + len(sound))
    if start < end:
        y[start:end] += gain * sound[: end - start]
