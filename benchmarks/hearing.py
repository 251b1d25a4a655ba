"""What a listener can say of a piece of music, as numbers. Samples are float32 [n] at `SAMPLE_RATE`, mono."""

import numpy as np
from librosa.effects import harmonic
from librosa.feature import chroma_cqt, spectral_centroid, spectral_flatness
from librosa.feature import tempo as estimate_tempo
from librosa.onset import onset_detect, onset_strength
from numpy.typing import NDArray

SAMPLE_RATE = 32_000
HOP = 320  # samples from one moment that is listened to, to the next
Samples = NDArray[np.float32]

# How well each of the twelve notes fits a key whose tonic is the first (Temperley, Music and Probability, 2007,
# table 6.1: each note's probability in the Essen folk songs and in common-practice music).
_KEY_PROFILES = {
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}


def tempo(samples: Samples) -> float:
    """Beats a minute, as librosa's beat tracker hears them; 0 where it hears none."""
    strength = onset_strength(y=samples, sr=SAMPLE_RATE, hop_length=HOP)
    if not strength.any():
        return 0.0
    return float(estimate_tempo(onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP)[0])


def same_tempo(heard: float, asked: float) -> bool:
    """Whether they agree within 8 %, an octave up or down allowed."""
    return min(abs(heard * octave / asked - 1) for octave in (0.5, 1.0, 2.0)) <= 0.08


def mode(samples: Samples) -> str:
    """`major` or `minor`: that of the key whose profile the piece's chroma correlates with best; `none` of silence."""
    if not samples.any():
        return "none"
    chroma = chroma_cqt(y=harmonic(samples), sr=SAMPLE_RATE).mean(axis=1)
    fit = {
        (name, tonic): float(np.corrcoef(np.roll(profile, tonic), chroma)[0, 1])
        for name, profile in _KEY_PROFILES.items()
        for tonic in range(12)
    }
    return max(fit, key=lambda key: fit[key])[0]


def brightness(samples: Samples) -> float:
    """The spectrum's centre of mass in Hz, mean over time."""
    return float(spectral_centroid(y=samples, sr=SAMPLE_RATE).mean())


def loudness(samples: Samples) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(samples**2)))


def onsets(samples: Samples) -> int:
    """How many notes begin."""
    return len(onset_detect(y=samples, sr=SAMPLE_RATE)) if samples.any() else 0


def flatness(samples: Samples) -> float:
    """0 for a pure tone, 1 for white noise."""
    return float(spectral_flatness(y=samples).mean())
