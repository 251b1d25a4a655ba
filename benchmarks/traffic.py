"""Traffic of a simulated day: hours, noise, bursts, and tracks of heavy-tailed lengths."""

import math

import numpy as np

from benchmarks.simulation import REPLICA_AUDIO_S_PER_S, Floats, Traffic

DAY_S = 86_400
SHORTEST_S = 8.0
LONGEST_S = 120.0
TAIL = 1.0  # exponent of the bounded Pareto distribution of lengths
LONG_TAIL = 0.3  # in every eighth quarter of an hour
BUSY = 0.4  # share of the GPUs that the busiest hour keeps busy, without bursts
BURSTS = 40  # in a day
NOISE = 0.2  # standard deviation of the rate's logarithm
NOISE_S = 600.0  # time over which it is correlated


def traffic(gpus: int, seed: int = 0, day_s: int = DAY_S, longer: float = 1.0) -> Traffic:
    """Draw a day that keeps up to `gpus` replicas busy in its bursts.

    longer: factor of the lengths; the number of tracks is divided by it.
    """
    rng = np.random.default_rng(seed)
    wave = 0.05 + 0.95 * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(day_s) / day_s)) ** 2
    level = BUSY * wave * _noise(rng, day_s) * _bursts(rng, day_s)
    mean_s = float(np.mean(bounded_pareto(np.random.default_rng(0), np.full(100_000, TAIL))))
    rate = gpus * REPLICA_AUDIO_S_PER_S / mean_s
    counts = rng.poisson(rate / longer * np.minimum(1.0, level))
    seconds = np.repeat(np.arange(day_s), counts)
    arrivals_s = np.sort(seconds + rng.random(seconds.size))
    long = (arrivals_s // 900).astype(int) % 8 == 3
    return Traffic(arrivals_s, longer * bounded_pareto(rng, np.where(long, LONG_TAIL, TAIL)))


def bounded_pareto(rng: np.random.Generator, tail: Floats) -> Floats:
    """Draw from bounded Pareto distributions, by inversion."""
    least = SHORTEST_S**-tail
    most = LONGEST_S**-tail
    drawn: Floats = (least - rng.random(tail.size) * (least - most)) ** (-1 / tail)
    return drawn


def _noise(rng: np.random.Generator, day_s: int) -> Floats:
    """Draw a log-normal factor of mean 1 from an autoregressive process, by minute."""
    keep = math.exp(-60 / NOISE_S)
    value = rng.normal(0.0, NOISE)
    minutes = []
    for _ in range(math.ceil(day_s / 60) + 1):
        value = keep * value + math.sqrt(1 - keep**2) * rng.normal(0.0, NOISE)
        minutes.append(math.exp(value - NOISE**2 / 2))
    seconds: Floats = np.interp(np.arange(day_s), 60.0 * np.arange(len(minutes)), minutes)
    return seconds


def _bursts(rng: np.random.Generator, day_s: int) -> Floats:
    """Draw factors of 1.5 to 4 that last up to ten minutes. Half of the bursts grow at first."""
    factor = np.ones(day_s)
    for start in rng.integers(0, day_s, round(BURSTS * day_s / DAY_S)):
        length = int(rng.integers(30, 600))
        height = np.full(length, rng.uniform(0.5, 3.0))
        if rng.random() < 0.5:
            rise = max(1, length // 3)
            height[:rise] *= np.linspace(0.0, 1.0, rise)
        part = factor[start : start + length]
        part += height[: part.size]
    return factor
