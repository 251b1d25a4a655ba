"""Melody -> chroma of each window of the track, in a thread of its own.

As in AudioCraft, a track of one window repeats the melody's chroma. In a longer one each window has
the chroma of its own part of the melody, which starts again whenever it ends.
"""

import math
from collections.abc import Sequence as Windows

import numpy as np
import torch
from torch import Tensor

from serve_app.engine.window import Window
from serve_app.engine.worker_thread import OnFailure, WorkerThread
from serve_app.models.chroma import MelodyConfig, chroma, fit
from serve_app.models.stems import StemSeparator
from serve_app.types import Audio

# Of AudioCraft's resampling, julius. PyTorch's own defaults differ by four times as much.
_LOWPASS_WIDTH = 24
_ROLLOFF = 0.945
_MARGIN_S = 1.0  # of melody beyond the last window, so that its end has no effect


class MelodyEncoder:
    """Computes one melody's chroma at a time, on the CPU.

    window_s: of the model; frame_rate: of the codes; on_failure: see WorkerThread;
    stems: separates each melody before its chroma is taken; None: the chroma is that of the mix.
    """

    def __init__(
        self,
        config: MelodyConfig,
        window_s: float,
        frame_rate: float,
        on_failure: OnFailure,
        stems: StemSeparator | None = None,
    ) -> None:
        self._config = config
        self._window_s = window_s
        self._frame_rate = frame_rate
        self._stems = stems
        device = torch.device("cpu") if stems is None else stems.device
        self._thread = WorkerThread("musicgen-melody", device, on_failure)

    async def encode(self, melody: Audio, windows: Windows[Window]) -> list[Tensor]:
        """Encode in the encoder's thread; see `encode_here`."""
        return await self._thread.run(self.encode_here, melody, windows)

    @torch.inference_mode()
    def encode_here(self, melody: Audio, windows: Windows[Window]) -> list[Tensor]:
        """Return the pitch classes [chroma_length] of each window of a track."""
        starts_s = [window.start / self._frame_rate for window in windows]
        heard_s = starts_s[-1] + self._window_s + _MARGIN_S
        samples = resample(melody, heard_s, self._config.sample_rate)
        if self._stems is not None:  # once, and not for each window as in AudioCraft
            samples = self._stems.separate(samples[None], self._config.sample_rate).cpu()
        length = self._config.chroma_length
        if len(windows) == 1:
            return [fit(chroma(samples, self._config), length)]
        parts = (self._part(samples, start_s) for start_s in starts_s)
        return [fit(chroma(part, self._config), length) for part in parts]

    def shutdown(self) -> None:
        self._thread.shutdown()

    def _part(self, samples: Tensor, start_s: float) -> Tensor:
        """Return a window's part of a melody that is repeated without end."""
        rate = self._config.sample_rate
        first = int(start_s * rate)
        return samples[torch.arange(first, first + int(self._window_s * rate)) % len(samples)]


def resample(melody: Audio, heard_s: float, sample_rate: int) -> Tensor:
    """Return the mean of the channels [n] of the first `heard_s` seconds, at another rate in Hz."""
    # Imported here: it takes a second, and few requests bring a melody.
    from torchaudio.functional import resample as resampled

    heard = math.ceil(heard_s * melody.sample_rate)
    samples = torch.from_numpy(np.ascontiguousarray(melody.samples[:, :heard])).mean(dim=0)
    length = max(1, len(samples) * sample_rate // melody.sample_rate)
    at_rate: Tensor = resampled(
        samples,
        melody.sample_rate,
        sample_rate,
        lowpass_filter_width=_LOWPASS_WIDTH,
        rolloff=_ROLLOFF,
    )
    return at_rate[:length]
