"""Length of a streamed file before its audio is there."""

import numpy as np

from serve_app.audio.encoder import Encoder
from serve_app.audio.file_format import Encoding

_BLOCK_S = 1


def streamed_size(encoding: Encoding, sample_rate: int, channels: int, samples: int) -> int | None:
    """Compute the bytes of a streamed file of `samples` samples; None: they depend on the audio.

    It is the length of a file with as much silence: in these formats each second has the same
    number of bytes, and the encoder alone knows its padding and delay. It takes about 6 ms per
    second of mp3. Raises InvalidRequest for a bit rate that the number of channels excludes.
    """
    if not encoding.file_format.sized:
        return None
    silence = np.zeros((channels, _BLOCK_S * sample_rate), np.float32)
    encoder = Encoder(encoding, sample_rate, channels, streamed=True)
    size = 0
    for start in range(0, samples, silence.shape[1]):
        size += len(encoder.add(silence[:, : samples - start]))
    return size + len(encoder.finish())
