"""Integrated loudness of mono audio by ITU-R BS.1770-4."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

SILENCE_LUFS = -70.0  # absolute gate
BLOCK_S = 0.4
HOP_S = 0.1
RELATIVE_GATE_LU = 10.0
Biquad = tuple[NDArray[np.float64], NDArray[np.float64]]


def loudness(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Loudness in LUFS of samples [n]; SILENCE_LUFS for silence and below BLOCK_S."""
    filtered = samples.astype(np.float64)
    for numerator, denominator in (_shelf(sample_rate), _high_pass(sample_rate)):
        filtered = lfilter(numerator, denominator, filtered)
    powers = _block_powers(filtered, int(BLOCK_S * sample_rate), int(HOP_S * sample_rate))
    powers = powers[powers > _power(SILENCE_LUFS)]
    if not len(powers):
        return SILENCE_LUFS
    return _lufs(powers[powers > _power(_lufs(powers.mean()) - RELATIVE_GATE_LU)].mean())


def _block_powers(x: NDArray[np.float64], size: int, hop: int) -> NDArray[np.float64]:
    """Mean squares of overlapping blocks, the last incomplete one left out."""
    sums = np.concatenate([[0.0], np.cumsum(x**2)])
    starts = np.arange(0, len(x) - size + 1, hop)
    return np.asarray((sums[starts + size] - sums[starts]) / size)


def _lufs(power: float) -> float:
    return float(-0.691 + 10 * np.log10(power))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _shelf(sample_rate: int) -> Biquad:
    """First stage of the K-weighting: +4 dB above 1.7 kHz."""
    gain_db, frequency, quality = 3.999843853973347, 1681.974450955533, 0.7071752369554196
    k = np.tan(np.pi * frequency / sample_rate)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    scale = 1 + k / quality + k * k
    numerator = [
        high + band * k / quality + k * k,
        2 * (k * k - high),
        high - band * k / quality + k * k,
    ]
    denominator = [scale, 2 * (k * k - 1), 1 - k / quality + k * k]
    return np.array(numerator) / scale, np.array(denominator) / scale


def _high_pass(sample_rate: int) -> Biquad:
    """Second stage of the K-weighting: a high-pass at 38 Hz."""
    frequency, quality = 38.13547087602444, 0.5003270373238773
    k = np.tan(np.pi * frequency / sample_rate)
    scale = 1 + k / quality + k * k
    denominator = [scale, 2 * (k * k - 1), 1 - k / quality + k * k]
    return np.array([1.0, -2.0, 1.0]), np.array(denominator) / scale
