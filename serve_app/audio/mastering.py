"""What is done to a piece after the model: loudness and fades. samples are float32 [channels, n]."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.errors import InvalidRequest

Samples = NDArray[np.float32]

PEAK_DB, RMS_DB = -1.0, -18.0  # below full scale; AudioCraft's headroom
_SILENCE_LUFS = -70.0
_BLOCK = 4096  # samples that are measured at a time


class Normalization(StrEnum):
    """How loud a piece becomes.

    none: as the model made it; clip: the same, without what lies beyond full scale; peak: its peak at -1 dBFS; rms: its
    root mean square at -18 dBFS; loudness: at a level in LUFS (ITU-R BS.1770-4). No gain takes a peak beyond -1 dBFS (a
    true peak, for loudness).
    """

    NONE = "none"
    CLIP = "clip"
    PEAK = "peak"
    RMS = "rms"
    LOUDNESS = "loudness"


@dataclass(frozen=True)
class Mastering:
    """What is asked for. lufs: the level of `loudness`; fades: seconds."""

    normalization: Normalization = Normalization.NONE
    lufs: float = -14.0
    fade_in_s: float = 0.0
    fade_out_s: float = 0.0

    def check_streamable(self) -> None:
        """Raises InvalidRequest where the whole piece must be known first."""
        if self.normalization not in (Normalization.NONE, Normalization.CLIP):
            raise InvalidRequest(
                f"normalization '{self.normalization}' needs the whole piece, so it cannot be streamed: use 'none' or "
                "'clip', or do not stream"
            )

    def part(self, samples: Samples, sample_rate: int, start: int, total: int) -> Samples:
        """A stretch of a piece of `total` samples, that begins at sample `start`, with its fades."""
        if self.normalization is Normalization.CLIP:
            samples = np.clip(samples, -1.0, 1.0)
        position = np.arange(start, start + samples.shape[1])
        if self.fade_in_s > 0:
            samples = _faded(samples, position, self.fade_in_s * sample_rate)
        if self.fade_out_s > 0:
            samples = _faded(samples, total - position, self.fade_out_s * sample_rate)
        return samples

    def whole(self, samples: Samples, sample_rate: int) -> Samples:
        """The whole piece."""
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
    """Integrated loudness in LUFS and true peak in dBFS (ITU-R BS.1770-4), as FFmpeg measures them, every 100 ms.

    Silence, and what is shorter than 0.4 s, has -70 LUFS.
    """
    layout = "mono" if len(samples) == 1 else "stereo"
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=sample_rate, format="fltp", layout=layout, time_base=Fraction(1, sample_rate)
    )
    meter, sink = (
        graph.add("ebur128", "metadata=1:peak=true:framelog=quiet"),
        graph.add("abuffersink"),
    )
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    metered: dict[str, str] = {}
    for start in range(0, samples.shape[1], _BLOCK):
        block = np.ascontiguousarray(samples[:, start : start + _BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = sample_rate, start
        graph.push(frame)
        while True:
            try:
                metered = graph.pull().metadata
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    return float(metered.get("lavfi.r128.I", _SILENCE_LUFS)), _db(
        float(metered.get("lavfi.r128.true_peak", 0.0))
    )


def _faded(samples: Samples, distance: NDArray[np.int64], length: float) -> Samples:
    """Each sample by how many samples it is from silence: full from `length` on, and along a sine until there."""
    gain = np.sin(np.clip(distance / max(length, 1.0), 0.0, 1.0) * (np.pi / 2))
    return np.asarray(samples * gain, np.float32)


def _db(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, 1e-9)))
