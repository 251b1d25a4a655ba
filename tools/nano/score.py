"""Scores: parameters of a track of the training music."""

from dataclasses import dataclass

import numpy as np

from tools.nano.synthesizer import FRAME_RATE

BEATS = (16, 18, 21, 24, 28, 32, 36, 42, 48)  # frames
TONICS = {"C": 0, "D": 2, "E": 4, "F": 5, "A": 9, "B": 11}  # name: pitch class
# Any two of the four share 4 notes of 7 at most. A model this small mixes the keys of a mode, and a mixture
# of two must not be heard as the other mode: C and A major were, as A minor.
HOMES = {"major": ("D", "B"), "minor": ("D", "F")}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
LEADS = (
    "piano", "guitar", "harp", "bells", "marimba", "flute", "trumpet", "organ", "epiano",
    "strings", "pad", "lead", "bass",
)  # fmt: skip
GROOVES = ("none", "soft", "straight", "four", "syncopated", "breakbeat")


@dataclass(frozen=True)
class Score:
    """Parameters of a track.

    energy: 0 (calm) to 2 (energetic), sets loudness and accompaniment; piece: number that draws the
    tune; length_s: where the track ends, None for one that goes on.
    """

    tonic: str
    mode: str
    bpm: int
    lead: str
    groove: str
    energy: int
    piece: int = 0
    length_s: int | None = None

    @property
    def homes(self) -> tuple[str, str]:
        """Tonics of the mode, one of which a piece has whose prompt names no key."""
        return HOMES[self.mode]

    @property
    def beat(self) -> int:
        """Length of a beat in frames."""
        asked = 60 * FRAME_RATE / self.bpm
        return min(BEATS, key=lambda beat: max(beat / asked, asked / beat))


def random_score(seed: int) -> Score:
    """Draw a score. The energy limits the choice of drums."""
    rng = np.random.default_rng([seed, 1])
    energy = int(rng.integers(3))
    grooves = {
        0: ("none", "soft"),
        1: ("soft", "straight", "four"),
        2: ("straight", "four", "syncopated", "breakbeat"),
    }[energy]
    return Score(
        tonic=str(rng.choice(list(TONICS))),
        mode=str(rng.choice(["major", "minor"])),
        bpm=int(rng.integers(60, 181)),
        lead=str(rng.choice(LEADS)),
        groove=str(rng.choice(grooves)),
        energy=energy,
        piece=seed,
    )
