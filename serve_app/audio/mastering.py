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


@dataclass(frozen=True)
class Mastering:
    """Options of mastering. lufs: the level of `loudness`; fade_in_s, fade_out_s: in seconds."""

    normalization: Normalization = Normalization.NONE
    lufs: float = -14.0
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0

    def check_streamable(self) -> None:
        """Raise InvalidRequest for a normalization that measures the whole track."""
        if self.normalization not in (Normalization.NONE, Normalization.CLIP):
            raise InvalidRequest(
                f"normalization '{self.normalization}' measures the whole track, "
                "so it cannot be streamed: use 'none' or 'clip', or do not stream"
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
        gained = samples * np.float32(10 ** (self._gain_db(samples, sample_rate) / 20))
        return self.part(gained, sample_rate, 0, samples.shape[1])

    def _gain_db(self, samples: Samples, sample_rate: int) -> float:
        if self.normalization in (Normalization.NONE, Normalization.CLIP) or not samples.any():
            return 0.0
        peak = _db(float(np.abs(samples).max()))
        if self.normalization is Normalization.PEAK:
            return PEAK_DB - peak
        if self.normalization is Normalization.RMS:
            return min(RMS_DB - _db(float(np.sqrt(np.mean(samples**2)))), PEAK_DB - peak)
        lufs, true_peak = loudness(samples, sample_rate)
        return min(self.lufs - lufs, PEAK_DB - max(peak, true_peak))


def loudness(samples: Samples, sample_rate: int) -> tuple[float, float]:
    """Measure integrated loudness in LUFS and true peak in dBFS (ITU-R BS.1770-4), by FFmpeg's
    ebur128 filter.

    Silence, and audio shorter than 0.4 s, measures -70 LUFS.
    """
    layout = "mono" if len(samples) == 1 else "stereo"
    graph = _loudness_graph(sample_rate, layout)
    measured: dict[str, str] = {}
    for start in range(0, samples.shape[1], _BLOCK):
        block = np.ascontiguousarray(samples[:, start : start + _BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        frame.pts = start
        graph.push(frame)
        measured |= _measurement(graph)
    lufs = float(measured.get("lavfi.r128.I", _SILENCE_LUFS))
    return lufs, _db(float(measured.get("lavfi.r128.true_peak", 0.0)))


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
