"""Decoding of uploaded audio files, by FFmpeg's libraries. Uploads are untrusted."""

import io
import itertools
from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.errors import InvalidAudio
from serve_app.types import Audio

# File signature -> demuxer. FFmpeg's other demuxers include playlists, which open further files.
_DEMUXERS = {
    b"RIFF": "wav",
    b"fLaC": "flac",
    b"ID3": "mp3",
    b"\xff\xfb": "mp3",
    b"\xff\xf3": "mp3",
    b"\xff\xf2": "mp3",
    b"\xff\xfa": "mp3",
    b"OggS": "ogg",
}
*_FIRST, _LAST = dict.fromkeys(_DEMUXERS.values())
UPLOAD_FORMATS = f"{', '.join(_FIRST)} or {_LAST}"  # for texts: "a wav, ... file"
_MAX_CHANNELS = 2
_SAMPLE_RATES = range(4_000, 192_001)
_MAX_RATE = 48_000
_OPEN_ENDED = (0, 0xFFFFFFFF)  # sizes in the header of a wav whose length was unknown
_PADDING = 0.02  # share of the announced duration that may be missing: padding, not truncation


def read_audio(content: bytes, max_duration_s: float) -> Audio:
    """Decode a file of the UPLOAD_FORMATS, of one or two channels, resampled to at most 48 kHz.

    Stops reading beyond `max_duration_s`. Raises InvalidAudio for other files, and for damaged,
    truncated or longer ones.
    """
    demuxer = next(
        (demuxer for start, demuxer in _DEMUXERS.items() if content.startswith(start)), None
    )
    if demuxer is None:
        raise InvalidAudio(f"The audio is not a {UPLOAD_FORMATS} file")
    if demuxer == "wav":
        _check_wav_size(content)
    try:
        return _decode(content, demuxer, max_duration_s)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise InvalidAudio(
            f"The audio cannot be read as {demuxer}: it is damaged or cut off"
        ) from error


def _check_wav_size(content: bytes) -> None:
    size = int.from_bytes(content[4:8], "little")
    if size not in _OPEN_ENDED and len(content) - 8 < size:
        raise InvalidAudio(f"The audio is cut off: it has {len(content)} of {size + 8} bytes")


def _decode(content: bytes, demuxer: str, max_duration_s: float) -> Audio:
    with av.open(io.BytesIO(content), "r", format=demuxer) as container:
        if not container.streams.audio:
            raise InvalidAudio("The file has no audio stream")
        stream = container.streams.audio[0]
        _check_stream(stream)
        rate = min(stream.sample_rate, _MAX_RATE)
        samples = _read(_resampled(container, stream, rate), rate, max_duration_s)
        announced_s = _announced_s(stream)
    if not samples.size and not announced_s:
        raise InvalidAudio("The audio has no samples")
    if not np.isfinite(samples).all():
        raise InvalidAudio("The audio has samples that are not finite (NaN or infinity)")
    made_s = samples.shape[1] / rate
    if not samples.size or made_s < announced_s * (1 - _PADDING) - 0.1:
        raise InvalidAudio(
            f"The audio is cut off: it has {made_s:.1f} of {announced_s:.1f} seconds"
        )
    return Audio(samples, rate)


def _check_stream(stream: av.AudioStream) -> None:
    rate = stream.sample_rate
    channels = stream.channels
    if not (rate in _SAMPLE_RATES and 1 <= channels <= _MAX_CHANNELS):
        raise InvalidAudio(
            f"The audio has {channels} channels at {rate} Hz; send 1 or 2 channels at 4 to 192 kHz"
        )


def _read(
    parts: Iterator[NDArray[np.float32]], rate: int, max_duration_s: float
) -> NDArray[np.float32]:
    """Concatenate the parts to samples [channels, n].

    Raises InvalidAudio beyond `max_duration_s`.
    """
    read: list[NDArray[np.float32]] = []
    length = 0
    for part in parts:
        read.append(part)
        length += part.shape[1]
        if length > max_duration_s * rate:
            raise InvalidAudio(
                f"The audio is longer than the allowed {max_duration_s:g} seconds; "
                "send a shorter file"
            )
    return np.concatenate(read, axis=1) if read else np.zeros((1, 0), np.float32)


def _announced_s(stream: av.AudioStream) -> float:
    """Duration that the header states, in seconds; 0 where it states none."""
    if not stream.duration or not stream.time_base:
        return 0.0
    return float(stream.duration * stream.time_base)


def _resampled(
    container: av.container.InputContainer, stream: av.AudioStream, rate: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the stream's samples at `rate` Hz, as float32 [channels, n]."""
    resampler = av.AudioResampler(
        format="fltp", layout="mono" if stream.channels == 1 else "stereo", rate=rate
    )
    for frame in itertools.chain(container.decode(stream), [None]):
        for resampled in resampler.resample(frame):
            yield np.asarray(resampled.to_ndarray(), np.float32)
