"""Length of a streamed file before its audio is there."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from serve_app.audio.encoder import Encoder
from serve_app.audio.file_format import FORMATS, Encoding, SampleFormat

_BLOCK_S = 1
_SHORT = 1152  # samples: one frame of mp3


def streamed_size(encoding: Encoding, sample_rate: int, channels: int, samples: int) -> int | None:
    """Compute the bytes of a streamed file of `samples` samples; None: they depend on the audio.

    It is the length of a file with as much silence: in these formats each second has the same
    number of bytes, and the encoder alone knows its padding and delay. A length that was not asked
    for lately takes about 6 ms per second of mp3. Raises InvalidRequest for a bit rate that the
    number of channels excludes.
    """
    if not encoding.file_format.sized:
        return None
    untagged = replace(encoding, tags={})
    tags = _silent(encoding, sample_rate, channels, _SHORT) - _silent(
        untagged, sample_rate, channels, _SHORT
    )
    return tags + _untagged_size(
        encoding.file_format.name,
        encoding.sample_rate,
        encoding.sample_format,
        encoding.bitrate_kbps,
        (sample_rate, channels, samples),
    )


@lru_cache(maxsize=256)
def _untagged_size(
    name: str,
    file_rate: int | None,
    sample_format: SampleFormat,
    bitrate_kbps: int | None,
    audio: tuple[int, int, int],
) -> int:
    """Length of a file without tags. audio: its sample rate, channels, and samples."""
    return _silent(Encoding(FORMATS[name], file_rate, sample_format, bitrate_kbps), *audio)


def _silent(encoding: Encoding, sample_rate: int, channels: int, samples: int) -> int:
    """Length of a streamed file of silence."""
    silence = np.zeros((channels, _BLOCK_S * sample_rate), np.float32)
    encoder = Encoder(encoding, sample_rate, channels, streamed=True)
    size = 0
    for start in range(0, samples, silence.shape[1]):
        size += len(encoder.add(silence[:, : samples - start]))
    return size + len(encoder.finish())
