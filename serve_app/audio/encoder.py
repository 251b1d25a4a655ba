"""PCM to audio files, whole or while the audio is being made, by FFmpeg's libraries."""

import io
from typing import BinaryIO, cast

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.audio.file_format import Encoding, SampleFormat, Tagging
from serve_app.audio.id3 import id3_tag
from serve_app.audio.wav import WavHeader

Samples = NDArray[np.float32]


class Encoder:
    """Writes one file from float32 samples [channels, n], in parts of any length.

    Samples are clipped to [-1, 1]. A streamed file is handed out in parts as they become ready. Its
    header cannot state the length: a streamed wav is open-ended. A file that is not streamed is
    returned whole by `finish`, or written to `file`, which must be seekable.

    Raises InvalidRequest for a bit rate that the number of channels excludes.
    """

    def __init__(
        self,
        encoding: Encoding,
        sample_rate: int,
        channels: int,
        *,
        streamed: bool,
        file: BinaryIO | None = None,
    ) -> None:
        encoding.check_channels(channels)
        self._sample_rate = sample_rate
        self._layout = "mono" if channels == 1 else "stereo"
        self._wav = _wav_header(encoding, sample_rate, channels)
        head = _head(encoding, self._wav, streamed)
        self._written: _Parts | _File = _Parts(head) if streamed else _File(file, head)
        self._container = _open(self._written, encoding, streamed)
        self._stream = cast(
            av.AudioStream,
            self._container.add_stream(
                encoding.codec.name,
                rate=encoding.rate_from(sample_rate),
                options=_codec_options(encoding, streamed),
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
        if isinstance(self._written, _Parts):
            return self._written.take()
        if self._wav is not None:
            self._written.replace_head(self._wav.build(self._written.size()))
        return self._written.content()

    def _take(self) -> bytes:
        return self._written.take() if isinstance(self._written, _Parts) else b""


class _Parts:
    """An append-only file whose new bytes are taken away part by part, the head with the first ones."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        if not self._parts:
            return b""
        content = b"".join([self._head, *self._parts])
        self._head = b""
        self._parts.clear()
        return content


class _File:
    """A seekable file behind a head that FFmpeg does not see. file: None: in memory."""

    def __init__(self, file: BinaryIO | None, head: bytes) -> None:
        self._file = file or io.BytesIO()
        self._head_bytes = len(head)
        self._file.write(head)

    def write(self, part: bytes) -> int:
        return self._file.write(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = self._head_bytes if whence == io.SEEK_SET else 0
        return self._file.seek(start + offset, whence) - self._head_bytes

    def tell(self) -> int:
        return self._file.tell() - self._head_bytes

    def size(self) -> int:
        """Bytes behind the head."""
        return self.seek(0, io.SEEK_END)

    def replace_head(self, head: bytes) -> None:
        """Write another head of the same length."""
        self._file.seek(0)
        self._file.write(head)

    def content(self) -> bytes:
        """The whole file, if it is in memory."""
        return self._file.getvalue() if isinstance(self._file, io.BytesIO) else b""


def _wav_header(encoding: Encoding, sample_rate: int, channels: int) -> WavHeader | None:
    if encoding.file_format.tagging is not Tagging.RIFF:
        return None
    sample_bytes = 4 if encoding.sample_format is SampleFormat.FLOAT32 else 2
    return WavHeader(encoding.rate_from(sample_rate), channels, sample_bytes, encoding.tags)


def _head(encoding: Encoding, wav: WavHeader | None, streamed: bool) -> bytes:
    """The beginning of the file that FFmpeg does not write. The sizes of a whole file come later."""
    if wav is not None:
        return wav.build(None if streamed else 0)
    return id3_tag(encoding.tags) if encoding.file_format.tagging is Tagging.ID3 else b""


def _codec_options(encoding: Encoding, streamed: bool) -> dict[str, str]:
    """FFmpeg's options of the codec. A stream is encoded for one listener: its CPU time counts."""
    options = {"flags": "+bitexact"}  # no name of a library in the file
    if streamed:
        options |= encoding.file_format.stream_codec_options
    return options


def _open(file: _Parts | _File, encoding: Encoding, streamed: bool) -> av.container.OutputContainer:
    options = {"fflags": "+bitexact"}  # no name of a library in the file
    if encoding.tags and encoding.file_format.tagging is Tagging.ID3:
        options["id3v2_version"] = "0"
    if streamed:
        options |= encoding.file_format.stream_options
    container = av.open(file, "w", format=encoding.codec.muxer, options=options)
    if encoding.file_format.tagging is Tagging.VORBIS:
        container.metadata.update(encoding.tags)
    return container


def encode(samples: Samples, sample_rate: int, encoding: Encoding) -> bytes:
    """Encode a whole file. samples: float32 [channels, n]. Raises InvalidRequest."""
    encoder = Encoder(encoding, sample_rate, len(samples), streamed=False)
    encoder.add(samples)
    return encoder.finish()
