"""PCM -> the bytes of an audio file, by libsndfile."""

import io
from enum import StrEnum

import numpy as np
import soundfile
from numpy.typing import NDArray


class FileFormat(StrEnum):
    """The files that can be asked for."""

    WAV = "wav"
    FLAC = "flac"

    @property
    def media_type(self) -> str:
        return f"audio/{self.value}"


def encode(samples: NDArray[np.float32], sample_rate: int, file_format: FileFormat) -> bytes:
    """samples [channels, n] -> a 16-bit file. What lies beyond [-1, 1] is clipped."""
    buffer = io.BytesIO()
    clipped = np.clip(samples, -1.0, 1.0).T
    soundfile.write(buffer, clipped, sample_rate, format=file_format.upper(), subtype="PCM_16")
    return buffer.getvalue()
