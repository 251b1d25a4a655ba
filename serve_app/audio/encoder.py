"""PCM to audio files, whole or while the audio is being made, by FFmpeg's libraries."""

import io
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.audio.file_format import Encoding

Samples = NDArray[np.float32]


class Encoder:
    """Writes one file from float32 samples [channels, n], in parts of any length.

    Samples are clipped to [-1, 1]. A streamed file is handed out in parts as they become ready. Its
    header cannot state the length: a streamed wav is open-ended. A file that is not streamed is
    returned whole by `finish`, or written to `path`.

    Raises InvalidRequest for a bit rate that the number of channels excludes.
    """

    def __init__(
        self,
        encoding: Encoding,
        sample_rate: int,
        channels: int,
        *,
        streamed: bool,
        path: Path | None = None,
    ) -> None:
        encoding.check_channels(channels)
        self._sample_rate = sample_rate
        self._layout = "mono" if channels == 1 else "stereo"
        self._written: _Parts | io.BytesIO = _Parts() if streamed else io.BytesIO()
        self._container = _open(path or self._written, encoding, streamed)
        self._stream = cast(
            av.AudioStream,
            self._container.add_stream(
                encoding.codec.name,
                rate=encoding.rate_from(sample_rate),
                options={"flags": "+bitexact"},
                layout=self._layout,
            ),
        )
        if encoding.bit_rate is not None:
            self._stream.bit_rate = encoding.bit_rate

    def add(self, samples: Samples) -> bytes:
        """Encode samples [channels, n]; return the bytes that they complete."""
        planar = np.ascontiguousarray(np.clip(samples, -1.0, 1.0))
        frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=self._layout)
        frame.sample_rate = self._sample_rate
        self._container.mux(self._stream.encode(frame))
        return self._take()

    def finish(self) -> bytes:
        """Close the file; return the remaining bytes."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._written.getvalue() if isinstance(self._written, io.BytesIO) else self._take()

    def _take(self) -> bytes:
        return self._written.take() if isinstance(self._written, _Parts) else b""


class _Parts:
    """An append-only file whose new bytes are taken away part by part."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def _open(
    file: _Parts | io.BytesIO | Path, encoding: Encoding, streamed: bool
) -> av.container.OutputContainer:
    options = {"fflags": "+bitexact"}  # no name of a library in the file
    if streamed:
        options |= encoding.file_format.stream_options
    container = av.open(file, "w", format=encoding.codec.muxer, options=options)
    if encoding.file_format.tagged:
        container.metadata.update(encoding.tags)
    return container


def encode(samples: Samples, sample_rate: int, encoding: Encoding) -> bytes:
    """Encode a whole file. samples: float32 [channels, n]. Raises InvalidRequest."""
    encoder = Encoder(encoding, sample_rate, len(samples), streamed=False)
    encoder.add(samples)
    return encoder.finish()
