"""PCM -> the bytes of an audio file, whole or while it is being made, by FFmpeg's libraries."""

import io
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.audio.file_format import Encoding, FileFormat, SampleFormat

Samples = NDArray[np.float32]

# Muxer and codec.
_CONTAINERS = {
    (FileFormat.WAV, SampleFormat.INT16): ("wav", "pcm_s16le"),
    (FileFormat.WAV, SampleFormat.FLOAT32): ("wav", "pcm_f32le"),
    (FileFormat.PCM, SampleFormat.INT16): ("s16le", "pcm_s16le"),
    (FileFormat.PCM, SampleFormat.FLOAT32): ("f32le", "pcm_f32le"),
    (FileFormat.FLAC, SampleFormat.INT16): ("flac", "flac"),
    (FileFormat.MP3, SampleFormat.INT16): ("mp3", "libmp3lame"),
    (FileFormat.OPUS, SampleFormat.INT16): ("ogg", "libopus"),
}
_DEFAULT_KBPS = {FileFormat.MP3: 192, FileFormat.OPUS: 128}
_TAGGED = (FileFormat.FLAC, FileFormat.MP3, FileFormat.OPUS)


class Encoder:
    """One file being written. samples are float32 [channels, n], n any; what lies beyond [-1, 1] is clipped.

    Streamed, its parts are handed out as they become ready, and headers cannot know its length: a streamed wav's is
    open-ended. Otherwise `finish` returns all of it.
    """

    def __init__(
        self, encoding: Encoding, sample_rate: int, channels: int, *, streamed: bool
    ) -> None:
        file_format = encoding.file_format
        muxer, codec = _CONTAINERS[file_format, encoding.sample_format]
        options = {"fflags": "+bitexact"}  # no name of a library in the file
        if streamed and file_format is FileFormat.MP3:
            options["write_xing"] = "0"
        if streamed and file_format is FileFormat.OPUS:
            options["page_duration"] = "100000"  # microseconds of audio that a player waits for
        self._written: _Parts | io.BytesIO = _Parts() if streamed else io.BytesIO()
        self._sample_rate, self._layout = sample_rate, "mono" if channels == 1 else "stereo"
        self._container = av.open(self._written, "w", format=muxer, options=options)
        if file_format in _TAGGED:
            self._container.metadata.update(encoding.tags)
        rate, flags = encoding.rate_from(sample_rate), {"flags": "+bitexact"}
        self._stream = cast(
            av.AudioStream,
            self._container.add_stream(codec, rate=rate, options=flags, layout=self._layout),
        )
        if (kbps := encoding.bitrate_kbps or _DEFAULT_KBPS.get(file_format)) is not None:
            self._stream.bit_rate = kbps * 1000

    def add(self, samples: Samples) -> bytes:
        """The bytes that these samples complete."""
        planar = np.ascontiguousarray(np.clip(samples, -1.0, 1.0))
        frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=self._layout)
        frame.sample_rate = self._sample_rate
        self._container.mux(self._stream.encode(frame))
        return self._taken()

    def finish(self) -> bytes:
        """The rest of the bytes."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._written.getvalue() if isinstance(self._written, io.BytesIO) else self._taken()

    def _taken(self) -> bytes:
        return self._written.take() if isinstance(self._written, _Parts) else b""


class _Parts:
    """A file that can only be appended to, and is taken away part by part."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def encode(samples: Samples, sample_rate: int, encoding: Encoding) -> bytes:
    """A whole file."""
    encoder = Encoder(encoding, sample_rate, len(samples), streamed=False)
    encoder.add(samples)
    return encoder.finish()
