"""Mastering of a track: loudness and fades. Samples are float32 [channels, n]."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.errors import InvalidRequest

Samples = NDArray[np.float32]

# Levels below full scale: AudioCraft's headroom.
PEAK_DB = -1.0
RMS_DB = -18.0
_SILENCE_LUFS = -70.0
_BLOCK = 4096  # samples measured at a time


class Normalization(StrEnum):
    """How the gain of a track is chosen.

    none: unchanged; clip: unchanged, clipped to full scale; peak: peak at -1 dBFS;
    rms: root mean square at -18 dBFS;
    loudness: a given integrated loudness in LUFS (ITU-R BS.1770-4). The gain of rms and loudness is
    limited so that the peak (the true peak, for loudness) stays at or below -1 dBFS.
    """

    NONE = "none"
    CLIP = "clip"
    PEAK = "peak"
    RMS = "rms"
    LOUDNESS = "loudness"


_NO_GAIN = (Normalization.NONE, Normalization.CLIP)


@dataclass(frozen=True)
class Mastering:
    """Options of mastering. lufs: the level of `loudness`; fade_in_s, fade_out_s: in seconds."""

    normalization: Normalization = Normalization.NONE
    lufs: float = -14.0
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0

    def check_streamable(self) -> None:
        """Raise InvalidRequest for a normalization that measures the whole track."""
        if self.normalization not in _NO_GAIN:
            raise InvalidRequest(
                f"normalization '{self.normalization}' measures the whole track, "
                "so it cannot be streamed: use 'none' or 'clip', or do not stream",
                field="normalization",
            )

    def part(self, samples: Samples, sample_rate: int, start: int, total: int) -> Samples:
        """Master a stretch of a track of `total` samples, without normalization.

        start: position of the stretch in the track, in samples.
        """
        if self.normalization is Normalization.CLIP:
            samples = np.clip(samples, -1.0, 1.0)
        position = np.arange(start, start + samples.shape[1])
        if self.fade_in_s > 0:
            samples = _fade(samples, position, self.fade_in_s * sample_rate)
        if self.fade_out_s > 0:
            samples = _fade(samples, total - position, self.fade_out_s * sample_rate)
        return samples

    def whole(self, samples: Samples, sample_rate: int) -> Samples:
        """Master a whole track."""
        meter = self.meter(sample_rate)
        meter.add(samples)
        return self.part(samples * meter.gain(), sample_rate, 0, samples.shape[1])

    def meter(self, sample_rate: int) -> "LevelMeter":
        """Return a meter that finds the gain of a whole track from its parts."""
        return LevelMeter(self.normalization, self.lufs, sample_rate)

    @property
    def needs_whole(self) -> bool:
        """Whether the first part depends on the whole track: on its levels or its length."""
        return self.fade_out_s > 0 or self.normalization not in _NO_GAIN


class LevelMeter:
    """Measures a track part by part, and finds the gain of its normalization."""

    def __init__(self, normalization: Normalization, lufs: float, sample_rate: int) -> None:
        self._normalization = normalization
        self._lufs = lufs
        self._peak = 0.0
        self._squares = 0.0
        self._values = 0
        self._loudness = (
            LoudnessMeter(sample_rate) if normalization is Normalization.LOUDNESS else None
        )

    def add(self, samples: Samples) -> None:
        """Measure the next samples [channels, n]."""
        if self._normalization in _NO_GAIN or not samples.size:
            return
        self._peak = max(self._peak, float(np.abs(samples).max()))
        self._squares += float(np.sum(np.square(samples, dtype=np.float64)))
        self._values += samples.size
        if self._loudness is not None:
            self._loudness.add(samples)

    def gain(self) -> np.float32:
        """The factor of all samples; 1 for silence and without normalization."""
        return np.float32(10 ** (self._gain_db() / 20)) if self._peak > 0 else np.float32(1.0)

    def _gain_db(self) -> float:
        peak = _db(self._peak)
        if self._loudness is not None:
            lufs, true_peak = self._loudness.measure()
            return min(self._lufs - lufs, PEAK_DB - max(peak, true_peak))
        if self._normalization is Normalization.RMS:
            rms = _db(float(np.sqrt(self._squares / self._values)))
            return min(RMS_DB - rms, PEAK_DB - peak)
        return PEAK_DB - peak


class LoudnessMeter:
    """Measures loudness (ITU-R BS.1770-4) part by part, by FFmpeg's ebur128 filter."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._graph: av.filter.Graph | None = None
        self._length = 0
        self._measured: dict[str, str] = {}

    def add(self, samples: Samples) -> None:
        """Measure the next samples [channels, n]."""
        layout = "mono" if len(samples) == 1 else "stereo"
        self._graph = self._graph or _loudness_graph(self._sample_rate, layout)
        for start in range(0, samples.shape[1], _BLOCK):
            block = np.ascontiguousarray(samples[:, start : start + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = self._sample_rate
            frame.pts = self._length + start
            self._graph.push(frame)
            self._measured |= _measurement(self._graph)
        self._length += samples.shape[1]

    def measure(self) -> tuple[float, float]:
        """Return the integrated loudness in LUFS and the true peak in dBFS of all samples.

        Silence, and audio shorter than 0.4 s, measures -70 LUFS.
        """
        lufs = float(self._measured.get("lavfi.r128.I", _SILENCE_LUFS))
        return lufs, _db(float(self._measured.get("lavfi.r128.true_peak", 0.0)))


def loudness(samples: Samples, sample_rate: int) -> tuple[float, float]:
    """Measure integrated loudness in LUFS and true peak in dBFS of a whole track."""
    meter = LoudnessMeter(sample_rate)
    meter.add(samples)
    return meter.measure()


def _loudness_graph(sample_rate: int, layout: str) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=sample_rate, format="fltp", layout=layout, time_base=Fraction(1, sample_rate)
    )
    ebur128 = graph.add("ebur128", "metadata=1:peak=true:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(ebur128)
    ebur128.link_to(sink)
    graph.configure()
    return graph


def _measurement(graph: av.filter.Graph) -> dict[str, str]:
    """Pull the measurements that are ready, one every 100 ms; return the last: of all audio."""
    measured: dict[str, str] = {}
    while True:
        try:
            measured = graph.pull().metadata
        except (av.error.BlockingIOError, av.error.EOFError):
            return measured


def _fade(samples: Samples, distance: NDArray[np.int64], length: float) -> Samples:
    """Apply a sine fade.

    distance [n]: samples from the silent end; the gain is full from `length` samples on.
    """
    gain = np.sin(np.clip(distance / max(length, 1.0), 0.0, 1.0) * (np.pi / 2))
    return np.asarray(samples * gain, np.float32)


def _db(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, 1e-9)))
