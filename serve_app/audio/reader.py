"""Reading of a whole audio file."""

from collections.abc import Iterator
from functools import partial
from math import inf

import numpy as np

from serve_app.audio.decoder import MAX_RATE, Decoder, Samples


def read_samples(
    content: bytes, max_duration_s: float, sample_rate: int | None = None, *, cut: bool = False
) -> tuple[Samples, int]:
    """Decode a file of the UPLOAD_FORMATS; return samples [channels, n] and their rate in Hz.

    sample_rate: to resample to; None: the file's own, at most 48 kHz. One channel stays one, more
    are mixed to two. cut: take the first `max_duration_s` seconds of a longer file, and decode no more.
    Raises InvalidAudio.
    """
    decoder = Decoder(content, inf if cut else max_duration_s, partial(_rate, sample_rate))
    parts = _beginning(decoder, max_duration_s) if cut else decoder.parts()
    samples = np.concatenate(list(parts), axis=1)
    end = round(max_duration_s * decoder.sample_rate)
    return samples[:, :end] if cut else samples, decoder.sample_rate


def _beginning(decoder: Decoder, duration_s: float) -> Iterator[Samples]:
    """Yield the parts of a file until they reach `duration_s` seconds."""
    left: float | None = None  # samples
    for part in decoder.parts():
        yield part
        left = (duration_s * decoder.sample_rate if left is None else left) - part.shape[1]
        if left <= 0:
            return


def _rate(wanted: int | None, rate: int) -> int:
    return wanted or min(rate, MAX_RATE)
