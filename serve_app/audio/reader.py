"""Reading of a whole audio file."""

from functools import partial

import numpy as np

from serve_app.audio.decoder import MAX_RATE, Decoder, Samples


def read_samples(
    content: bytes, max_duration_s: float, sample_rate: int | None = None
) -> tuple[Samples, int]:
    """Decode a file of the UPLOAD_FORMATS; return samples [channels, n] and their rate in Hz.

    sample_rate: to resample to; None: the file's own, at most 48 kHz. One channel stays one, more
    are mixed to two. Raises InvalidAudio.
    """
    decoder = Decoder(content, max_duration_s, partial(_rate, sample_rate))
    samples = np.concatenate(list(decoder.parts()), axis=1)
    return samples, decoder.sample_rate


def _rate(wanted: int | None, rate: int) -> int:
    return wanted or min(rate, MAX_RATE)
