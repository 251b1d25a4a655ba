"""Synthetic music for training: score (key, mode, tempo, lead, drums, piece) -> samples.

The number of the piece draws its motifs, rhythm and chords. The music is simple enough for a model
of a few million parameters:
- The lead plays a motif of eight pulses and its variation, moved with the chords, within an octave.
- Under it, a bass and a chord: quiet, from three degrees of the scale, of which the tonic recurs.
- Each note starts on a codec frame, so that a note has the same codes wherever it is played.
- A beat has one of nine lengths in frames, which matches the tempo to within 8 %.
- Sections of ten seconds, each with its motif; a harp answers in the third.
- A piece with a length ends in a cadence and a held tonic that fades; one without goes on.
"""

from functools import lru_cache

import numpy as np

from tools.nano.arrangement import Arrangement
from tools.nano.loudness import loudness
from tools.nano.score import Score
from tools.nano.synthesizer import FRAME, FRAME_RATE, SAMPLE_RATE, Samples

TARGET_LUFS = (-17.3, -16.4, -15.5)  # by energy
CEILING = 0.95  # of the soft clipper
KNEE = 6  # exponent of the soft clipper: transparent below half of the ceiling


def render(score: Score, duration_s: float) -> Samples:
    """Render the first `duration_s` seconds, silent after the end: float32 [n], peak below 1."""
    y = np.zeros(int(duration_s * SAMPLE_RATE), np.float32)
    sound = Arrangement(score, -(-len(y) // FRAME)).render()[: len(y)]
    y[: len(sound)] = sound * gain(score.lead, score.groove, score.energy)
    return _soft_clip(y)


@lru_cache(maxsize=512)
def gain(lead: str, groove: str, energy: int) -> float:
    """Gain for TARGET_LUFS: one for each sound, so that a note has the same codes in all pieces."""
    levels = []
    for mode, bpm in (("major", 80), ("minor", 130)):
        score = Score("C", mode, bpm, lead, groove, energy)
        levels.append(loudness(Arrangement(score, 8 * FRAME_RATE).render(), SAMPLE_RATE))
    return float(10 ** ((TARGET_LUFS[energy] - np.mean(levels)) / 20))


def _soft_clip(y: Samples) -> Samples:
    return np.asarray(y / (1 + (np.abs(y) / CEILING) ** KNEE) ** (1 / KNEE), np.float32)
