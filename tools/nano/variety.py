"""Audio features that show how varied music is, how bright, how even, and whether it ends.

Samples are float32 [n] at `SAMPLE_RATE`, mono.
"""

from collections.abc import Sequence
from itertools import combinations
from statistics import mean

import numpy as np
from librosa import cqt
from librosa.feature import chroma_cqt
from numpy.typing import NDArray

from tools.nano.synthesizer import SAMPLE_RATE, Samples

LOWEST_MIDI = 55  # of a melody: above the bass and most chords
NOTES = 36
MELODY_HOP = 1024  # samples
SAME_TUNE = 0.8  # share of equal contours above which two tunes are the same
BRIGHT_HZ = 2500.0
FORM_HOP = 4096  # samples
FORM_LAGS_S = 4.0
END_S = 0.1
BEFORE_END_S = 3.0
END_DB = 20.0  # below the whole track
Contour = NDArray[np.int64]


def contour(samples: Samples, step_s: float) -> Contour:
    """Direction of the melody (-1, 0, 1) from each step to the next, by its loudest note."""
    first_hz = 440.0 * 2 ** ((LOWEST_MIDI - 69) / 12)
    notes = np.abs(cqt(samples, sr=SAMPLE_RATE, hop_length=MELODY_HOP, fmin=first_hz, n_bins=NOTES))
    frames = np.arange(0.5 * step_s, len(samples) / SAMPLE_RATE, step_s) * SAMPLE_RATE / MELODY_HOP
    return np.asarray(np.sign(np.diff(notes[:, frames.astype(int)].argmax(axis=0))))


def distinct(contours: Sequence[Contour]) -> int:
    """Number of tunes of which no two are the same."""
    kept: list[Contour] = []
    for one in contours:
        if all(_agreement(one, other) < SAME_TUNE for other in kept):
            kept.append(one)
    return len(kept)


def _agreement(first: Contour, second: Contour) -> float:
    """Largest share of equal directions, one of the tunes up to a step late."""
    shares = [np.mean(first == second)]
    shares += [np.mean(a[1:] == b[:-1]) for a, b in ((first, second), (second, first))]
    return float(max(shares))


def similarity(tracks: Sequence[Samples]) -> float:
    """Mean cosine similarity of the tracks' mean chroma, over all pairs."""
    means = [chroma_cqt(y=samples, sr=SAMPLE_RATE).mean(axis=1) for samples in tracks]
    return mean(_cosine(first, second) for first, second in combinations(means, 2))


def bright_share(samples: Samples) -> float:
    """Share of the energy above BRIGHT_HZ."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(power[hz > BRIGHT_HZ].sum() / max(power.sum(), 1e-12))


def ends(samples: Samples) -> bool:
    """Whether the last END_S are END_DB below the track, and the BEFORE_END_S are not silent."""
    whole = _rms(samples)
    last = _rms(samples[-int(END_S * SAMPLE_RATE) :])
    before = _rms(samples[-int(BEFORE_END_S * SAMPLE_RATE) :])
    threshold = whole * 10 ** (-END_DB / 20)
    return last < threshold < before


def form(samples: Samples) -> float:
    """Difference of the last third from the first: 0 for a loop, whatever the loop's phase.

    1 less the largest cosine similarity of the pitches over time, over lags up to FORM_LAGS_S.
    """
    pitches = np.abs(cqt(samples, sr=SAMPLE_RATE, hop_length=FORM_HOP))
    third = pitches.shape[1] // 3
    lags = int(FORM_LAGS_S * SAMPLE_RATE / FORM_HOP)
    first = pitches[:, : third - lags]
    similarities = [
        _cosine(first, pitches[:, 2 * third + lag :][:, : first.shape[1]]) for lag in range(lags)
    ]
    return 1 - max(similarities)


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    product = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.sum(first * second) / max(product, 1e-12))


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples**2)))
