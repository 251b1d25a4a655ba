"""Score -> notes and drums, mixed without a gain."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tools.nano.score import SCALES, TONICS, Score
from tools.nano.synthesizer import FRAME, FRAME_RATE, SAMPLE_RATE, Samples, drums, tone

SLOW_BEAT = 28  # frames; a beat of this length or longer has two pulses
# Scale degrees of each bar's chord. All chords have the scale's own mode. The tonic recurs often,
# to establish the key early.
PROGRESSIONS = (
    (0, 0, 3, 0), (0, 3, 0, 0), (0, 0, 4, 0), (0, 3, 0, 4),
    (0, 4, 3, 0), (0, 3, 4, 0), (0, 4, 0, 3), (0, 4, 0, 0),
)  # fmt: skip
DOMINANT = 4
# Lengths of a motif's notes in pulses, eight in all.
RHYTHMS = (
    (1, 1, 1, 1, 1, 1, 1, 1), (2, 1, 1, 2, 1, 1), (1, 1, 2, 1, 1, 2), (2, 2, 1, 1, 2),
    (1, 1, 1, 1, 2, 2), (2, 2, 1, 1, 1, 1), (2, 1, 1, 1, 1, 2), (1, 1, 2, 2, 1, 1),
)  # fmt: skip
MOTIF_PULSES = 8
CHORD_TONES = (0, 2, 4)  # scale degrees above the root
# Central MIDI number of a lead.
REGISTER = {"bells": 74, "flute": 74, "marimba": 70, "bass": 40, "pad": 58, "strings": 67}
DEFAULT_REGISTER = 65
BASS_REGISTER = 40
CHORD_REGISTER = 57
LEAD_GAIN = 0.6
BASS_GAIN = 0.3
CHORD_GAIN = 0.14
DRUM_GAIN = 0.4
SECTIONS = 3
SECTION_S = 10.0
HOLD_S = 1.2  # shortest last note
FADE_S = 0.9
# Sixteenth notes of the bar on which each drum plays.
Pattern = dict[str, tuple[int, ...]]
PATTERNS: dict[str, Pattern] = {
    "none": {},
    "soft": {"kick": (0, 8), "shaker": (0, 4, 8, 12)},
    "straight": {"kick": (0, 8), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
    "four": {"kick": (0, 4, 8, 12), "clap": (4, 12), "open_hat": (2, 6, 10, 14)},
    "syncopated": {"kick": (0, 6, 10), "snare": (4, 12), "hat": (0, 2, 4, 6, 8, 10, 12, 14)},
    "breakbeat": {"kick": (0, 10), "snare": (4, 12), "ride": (0, 4, 8, 12)},
}
# The last beat of every fourth bar.
FILLS: dict[str, Pattern] = {
    "none": {},
    "soft": {"tom": (12, 14)},
    "straight": {"snare": (12, 13, 14), "tom": (15,)},
    "four": {"clap": (12, 14, 15)},
    "syncopated": {"tom": (12, 13, 14, 15)},
    "breakbeat": {"snare": (12, 13), "tom": (14, 15)},
}


@dataclass(frozen=True)
class Motif:
    """Notes of a motif. starts, lengths: in pulses; degrees: of the scale above the chord's root."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    degrees: tuple[int, ...]


@dataclass(frozen=True)
class Note:
    """One note. start, end: in frames."""

    timbre: str
    midi: int
    start: int
    end: int
    gain: float


class Arrangement:
    """The notes and drums of a score up to `frames`, without gain."""

    def __init__(self, score: Score, frames: int) -> None:
        self._score = score
        self._ends = score.length_s is not None
        self._frames = frames if score.length_s is None else score.length_s * FRAME_RATE
        self._pulse = 1 if score.beat >= SLOW_BEAT else 2  # eighth notes
        rng = np.random.default_rng([score.piece, 11])
        self._progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
        self._motifs = _draw_motifs(rng)

    def render(self) -> Samples:
        y = np.zeros(self._frames * FRAME, np.float32)
        for note in (*self._lead(), *self._accompaniment(), *self._ending()):
            _add(y, tone(note.timbre, note.midi, note.end - note.start), note.start, note.gain)
        for name, frame in self._drums():
            _add(y, drums()[name], frame, DRUM_GAIN)
        if self._ends:
            fade = min(int(FADE_S * SAMPLE_RATE), len(y) // 2)
            y[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
        return y

    @cached_property
    def _last(self) -> int:
        """Frame of the last downbeat, on which the final chord begins; the end without one."""
        if not self._ends:
            return self._frames
        hold = min(HOLD_S * FRAME_RATE, 0.4 * self._frames)
        return int((self._frames - hold) // self._score.beat) * self._score.beat

    @property
    def _bars(self) -> int:
        return self._last // (4 * self._score.beat) + 1

    def _frame(self, eighth: int) -> int:
        return eighth * self._score.beat // 2

    def _section(self, bar: int) -> int:
        """0, 1, 2, 0, 1, 2, ...: sections begin on the first bar after SECTION_S."""
        return int(bar * 4 * self._score.beat / (SECTION_S * FRAME_RATE)) % SECTIONS

    def _chord(self, eighth: int) -> int:
        """Scale degree of the chord's root: the dominant for two beats before the end."""
        if self._ends and self._frame(eighth) >= self._last - 2 * self._score.beat:
            return DOMINANT
        return self._progression[eighth // 8 % 4]

    def _until_last(self, start: int, end: int) -> tuple[int, int]:
        return start, min(end, self._last)

    def _lead(self) -> Iterator[Note]:
        score = self._score
        for number in range(self._bars * 8 // (MOTIF_PULSES * self._pulse) + 1):
            first = number * MOTIF_PULSES * self._pulse  # eighth note
            section = self._section(first // 8)
            motif = self._motifs[section][number % 4 == 3]
            for start, length, degree in zip(
                motif.starts, motif.lengths, motif.degrees, strict=True
            ):
                eighth = first + start * self._pulse
                span = self._until_last(
                    self._frame(eighth), self._frame(eighth + length * self._pulse)
                )
                if span[0] < span[1]:
                    midi = _pitch(score, self._chord(eighth) + degree, _register(score.lead))
                    yield Note(score.lead, midi, *span, LEAD_GAIN)

    def _accompaniment(self) -> Iterator[Note]:
        """Bass on the first and third beat; a chord for two beats, or a beat after each of them."""
        score = self._score
        timbre = "epiano" if score.lead == "pad" else "pad"
        for half in range(2 * self._bars):
            eighth = 4 * half
            root = self._chord(eighth)
            start, end = self._until_last(self._frame(eighth), self._frame(eighth + 4))
            if start >= end:
                return
            if score.lead != "bass":
                yield Note("bass", _pitch(score, root, BASS_REGISTER), start, end, BASS_GAIN)
            if score.energy > 0:
                start = self._frame(eighth + 2)
            for degree in CHORD_TONES if start < end else ():
                midi = _pitch(score, root + degree, CHORD_REGISTER)
                yield Note(timbre, midi, start, end, CHORD_GAIN)
            if self._section(half // 2) == SECTIONS - 1 and start < end:
                midi = _pitch(score, root + 2, CHORD_REGISTER + 24)
                yield Note("harp", midi, start, min(end, start + score.beat), LEAD_GAIN / 2)

    def _ending(self) -> Iterator[Note]:
        """The tonic in the lead, the bass and the chord."""
        if not self._ends:
            return
        score = self._score
        span = (self._last, self._frames)
        yield Note(score.lead, _pitch(score, 0, _register(score.lead)), *span, LEAD_GAIN)
        if score.lead != "bass":
            yield Note("bass", _pitch(score, 0, BASS_REGISTER), *span, BASS_GAIN)
        for degree in CHORD_TONES:
            yield Note("pad", _pitch(score, degree, CHORD_REGISTER), *span, CHORD_GAIN)

    def _drums(self) -> Iterator[tuple[str, int]]:
        score = self._score
        for bar in range(self._bars):
            pattern = PATTERNS[score.groove]
            fill = FILLS[score.groove] if bar % 4 == 3 else {}
            for name in {**pattern, **fill}:
                steps = [step for step in pattern.get(name, ()) if not fill or step < 12]
                for step in (*steps, *fill.get(name, ())):
                    if (frame := (16 * bar + step) * score.beat // 4) < self._last:
                        yield name, frame
            starts_section = bar > 0 and self._section(bar) != self._section(bar - 1)
            if score.energy == 2 and starts_section and bar * 4 * score.beat < self._last:
                yield "crash", bar * 4 * score.beat
        if self._ends and score.groove != "none":
            yield "kick", self._last


def _draw_motifs(rng: np.random.Generator) -> list[tuple[Motif, Motif]]:
    """The motif of each section, with the variation that ends a phrase."""
    motifs = []
    for _ in range(SECTIONS):
        motif = _draw_motif(rng)
        varied = _draw_motif(rng)
        half = [start < MOTIF_PULSES // 2 for start in motif.starts]
        kept = list(zip(motif.starts, motif.lengths, motif.degrees, strict=True))[: sum(half)]
        new = [
            note
            for note in zip(varied.starts, varied.lengths, varied.degrees, strict=True)
            if note[0] >= MOTIF_PULSES // 2
        ]
        motifs.append((motif, Motif(*(tuple(column) for column in zip(*kept, *new, strict=True)))))
    return motifs


def _draw_motif(rng: np.random.Generator) -> Motif:
    """Chord tones on even pulses, a step from the note before on odd ones."""
    lengths = RHYTHMS[rng.integers(len(RHYTHMS))]
    starts = tuple(int(start) for start in np.cumsum((0, *lengths[:-1])))
    degrees: list[int] = []
    for start in starts:
        if start % 2 == 0:
            degrees.append(int(rng.choice(CHORD_TONES)))
        else:
            degrees.append(degrees[-1] + int(rng.choice((-1, 1, 2, -2))))
    return Motif(starts, lengths, tuple(degrees))


def _register(lead: str) -> int:
    return REGISTER.get(lead, DEFAULT_REGISTER)


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
