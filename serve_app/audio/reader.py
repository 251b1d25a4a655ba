"""Audio files that callers send -> samples, by FFmpeg's libraries. Nothing about them is trusted."""

import io
import itertools
from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.errors import InvalidAudio
from serve_app.types import Audio

# How files begin -> the one demuxer that may read them: FFmpeg's others include playlists, which open further files.
_BEGINNINGS = {
    b"RIFF": "wav",
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"ID3": "mp3",
    b"\xff\xfb": "mp3",
    b"\xff\xf3": "mp3",
}
_BEGINNINGS |= {b"\xff\xf2": "mp3", b"\xff\xfa": "mp3"}
_MAX_CHANNELS, _SAMPLE_RATES, _MAX_RATE = 2, range(4_000, 192_001), 48_000
_OPEN_ENDED = (0, 0xFFFFFFFF)
_MISSING = 0.02  # of what the header says: less is padding, more has been cut off


def read_audio(content: bytes, max_duration_s: float) -> Audio:
    """A wav, flac, mp3 or ogg file of one or two channels, at 48 kHz at most. Raises InvalidAudio.

    Reads no further than it has to.
    """
    demuxer = next(
        (demuxer for start, demuxer in _BEGINNINGS.items() if content.startswith(start)), None
    )
    if demuxer is None:
        raise InvalidAudio("The audio is not a wav, flac, mp3 or ogg file")
    if (
        demuxer == "wav"
        and len(content) - 8 < (size := int.from_bytes(content[4:8], "little")) not in _OPEN_ENDED
    ):
        raise InvalidAudio(f"The audio is cut off: {len(content)} of {size + 8} bytes are there")
    try:
        return _decode(content, demuxer, max_duration_s)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise InvalidAudio(
            f"The audio cannot be read as {demuxer}: it is damaged or cut off"
        ) from error


def _decode(content: bytes, demuxer: str, max_duration_s: float) -> Audio:
    with av.open(io.BytesIO(content), "r", format=demuxer) as container:
        if not container.streams.audio:
            raise InvalidAudio("The audio has no audio in it")
        stream = container.streams.audio[0]
        rate, channels = stream.sample_rate, stream.channels
        if not (rate in _SAMPLE_RATES and 1 <= channels <= _MAX_CHANNELS):
            raise InvalidAudio(
                f"The audio has {channels} channels at {rate} Hz; it may have 1 or 2 at 4 to 192 kHz"
            )
        parts, total = [], 0
        rate = min(rate, _MAX_RATE)
        for part in _samples(container, stream, rate):
            parts.append(part)
            total += part.shape[1]
            if total > max_duration_s * rate:
                raise InvalidAudio(
                    f"The audio is longer than the {max_duration_s:g} seconds that are taken"
                )
        announced_s = (
            float(stream.duration * stream.time_base)
            if stream.duration and stream.time_base
            else 0.0
        )
    if not total or total / rate < announced_s * (1 - _MISSING) - 0.1:
        raise InvalidAudio(
            f"The audio is cut off: {total / rate:.1f} of {announced_s:.1f} seconds are there"
        )
    return Audio(np.concatenate(parts, axis=1), rate)


def _samples(
    container: av.container.InputContainer, stream: av.AudioStream, rate: int
) -> Iterator[NDArray[np.float32]]:
    """float32 [channels, n], part by part"""
    resampler = av.AudioResampler(
        format="fltp", layout="mono" if stream.channels == 1 else "stereo", rate=rate
    )
    for frame in itertools.chain(container.decode(stream), [None]):
        for resampled in resampler.resample(frame):
            yield np.asarray(resampled.to_ndarray(), np.float32)
