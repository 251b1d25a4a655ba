"""Audio features that show whether music follows its prompt.

Samples are float32 [n] at `SAMPLE_RATE`, mono.
"""

import numpy as np
from librosa.effects import harmonic
from librosa.feature import chroma_cqt, spectral_centroid, spectral_flatness
from librosa.feature import tempo as estimate_tempo
from librosa.onset import onset_detect, onset_strength

from tools.nano.synthesizer import SAMPLE_RATE, Samples

HOP = 320  # samples between two frames of the onset envelope
TEMPO_TOLERANCE = 0.08

# Probability of each pitch class in a key with the first one as tonic, in the Essen folk songs and
# in common-practice music (Temperley, Music and Probability, 2007, table 6.1).
_KEY_PROFILES = {
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}


def tempo(samples: Samples) -> float:
    """Estimate the tempo in beats per minute by librosa's beat tracker; 0 without onsets."""
    strength = onset_strength(y=samples, sr=SAMPLE_RATE, hop_length=HOP)
    if not strength.any():
        return 0.0
    return float(estimate_tempo(onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP)[0])


def same_tempo(estimate: float, bpm: float) -> bool:
    """Compare tempos to within 8 %, allowing for an octave error."""
    errors = (abs(estimate * octave / bpm - 1) for octave in (0.5, 1.0, 2.0))
    return min(errors) <= TEMPO_TOLERANCE


def mode(samples: Samples) -> str:
    """Mode of the best-correlated key profile, `major` or `minor`; `none` for silence."""
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
    """Mean spectral centroid in Hz."""
    return float(spectral_centroid(y=samples, sr=SAMPLE_RATE).mean())


def loudness(samples: Samples) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(samples**2)))


def onsets(samples: Samples) -> int:
    """Number of note onsets."""
    return len(onset_detect(y=samples, sr=SAMPLE_RATE)) if samples.any() else 0


def flatness(samples: Samples) -> float:
    """Mean spectral flatness: 0 for a pure tone, 1 for white noise."""
    return float(spectral_flatness(y=samples).mean())
