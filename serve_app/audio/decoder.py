"""Decoding of uploaded audio files as a stream, by FFmpeg's libraries. Uploads are untrusted."""

import io
from collections.abc import Callable, Iterator
from typing import TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.audio.ogg_links import format_changes
from serve_app.audio.upload_format import (
    DECODER_OPTIONS,
    DECODERS,
    DEMUXER_OPTIONS,
    REFUSED_CODECS,
    SAMPLE_COUNTING,
    TAGS,
    UPLOAD_FORMATS,
)
from serve_app.errors import InvalidAudio

Samples = NDArray[np.float32]
_Packet: TypeAlias = "av.Packet[av.AudioStream]"

MAX_CHANNELS = 8
MAX_RATE = 48_000  # Hz, of the samples: files with a higher rate are resampled
_SAMPLE_RATES = range(4_000, 192_001)
_GAP_S = 0.05  # without audio, by timestamps that count samples
_PAUSE_S = 1.0  # without audio, by a recorder's clock
_GOES_ON_S = 0.1  # audio after damage: less may be junk behind the end that looks like a frame
_OGG = "ogg"  # FFmpeg's name of the container
_PADDING = bytes(4)  # no file of the formats begins with zeros


class Decoder:
    """Decodes one file to float32 samples [channels, n] of one or two channels, part by part.

    rate_from: sample rate of the file -> of the samples, both in Hz;
    max_duration_s: longer files are refused once so much is decoded.
    """

    def __init__(
        self, content: bytes, max_duration_s: float, rate_from: Callable[[int], int]
    ) -> None:
        self._content = content.lstrip(b"\0") if content.startswith(_PADDING) else content
        self._max_duration_s = max_duration_s
        self._rate_from = rate_from
        self.sample_rate = 0  # of the samples; known once there are some
        self.metadata: dict[str, str] = {}  # of the file and its audio; known as the sample rate is
        self._length = 0  # decoded samples of the file
        self.decoded_s = 0.0  # the same in seconds

    def parts(self) -> Iterator[Samples]:
        """Yield the samples, in parts of at least one.

        Raises InvalidAudio for a file of another format, one that is too long, one with damage
        before its end, and one without samples. A file may be shorter than its header states, and
        anything may follow its end.
        """
        made = False
        try:
            with self._open() as container:
                self.metadata = _metadata(container)
                for part in _resampled(self._frames(container), self._set_rate):
                    _check_finite(part)
                    made = True
                    yield part
        except (av.error.FFmpegError, ValueError) as error:
            raise InvalidAudio(
                f"The audio cannot be decoded beyond {self.decoded_s:.1f} seconds: "
                "send an undamaged file"
            ) from error
        if not made:
            raise InvalidAudio("The audio has no samples")

    def _open(self) -> av.container.InputContainer:
        if not self._content:
            raise InvalidAudio(f"The audio is empty: send a {UPLOAD_FORMATS} file")
        try:
            return av.open(
                io.BytesIO(self._content), "r", options=DEMUXER_OPTIONS, metadata_errors="replace"
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise InvalidAudio(
                f"The audio is not a {UPLOAD_FORMATS} file, or its beginning is damaged"
            ) from error

    def _set_rate(self, rate: int) -> int:
        self.sample_rate = self._rate_from(rate)
        return self.sample_rate

    def _frames(self, container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
        """Yield the frames of the first audio stream, up to its end or to trailing junk.

        Raises InvalidAudio for damage before the end, and where a chained file changes its format.
        """
        stream = _audio_stream(container)
        max_gap_s = _GAP_S if container.format.name in SAMPLE_COUNTING else _PAUSE_S
        damaged_at_s: float | None = None
        after_s = 0.0
        for packet, gap_s in _with_gaps(_packets(container, stream)):
            frames = _decoded(stream, packet)
            if damaged_at_s is None and self.decoded_s and (frames is None or gap_s > max_gap_s):
                damaged_at_s = self.decoded_s
            for frame in frames or ():
                if damaged_at_s is None:
                    yield self._accepted(frame)
                    continue
                after_s += frame.samples / frame.sample_rate
                if after_s >= _GOES_ON_S:
                    raise InvalidAudio(
                        f"The audio is damaged at {damaged_at_s:.1f} seconds: "
                        "send an undamaged file"
                    )
        if self._length and container.format.name == _OGG and format_changes(self._content):
            raise InvalidAudio(
                f"The audio's codec or format changes at {self.decoded_s:.1f} seconds: "
                "send a file that keeps both"
            )

    def _accepted(self, frame: av.AudioFrame) -> av.AudioFrame:
        """Count a frame. Raises InvalidAudio beyond the bounds."""
        _check_frame(frame)
        self._length += frame.samples
        self.decoded_s = self._length / frame.sample_rate
        if self.decoded_s > self._max_duration_s:
            raise InvalidAudio(
                f"The audio is longer than the allowed {self._max_duration_s:g} seconds; "
                "send a shorter file"
            )
        return frame


def _metadata(container: av.container.InputContainer) -> dict[str, str]:
    """The file's tags and those of its first audio stream, where Ogg has them."""
    found = dict(container.metadata)
    for stream in container.streams.audio[:1]:
        found |= stream.metadata
    return found


def _audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise InvalidAudio("The file has no audio stream")
    stream = container.streams.audio[0]
    codec = stream.codec_context.name if stream.codec_context is not None else "unknown"
    name = container.format.name
    if codec not in DECODERS or codec in REFUSED_CODECS.get(name, ()):
        raise InvalidAudio(
            f"The audio's codec ({codec}) is not supported in {name}: send a {UPLOAD_FORMATS} file"
        )
    stream.codec_context.options = DECODER_OPTIONS.get(codec, {})
    return stream


def _packets(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[_Packet]:
    """Yield the packets, the last of them empty. A fault of the container is the end of the file."""
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        return


def _with_gaps(packets: Iterator[_Packet]) -> Iterator[tuple[_Packet, float]]:
    """Yield each packet with the seconds without audio before it, by the timestamps."""
    end: int | None = None
    for packet in packets:
        gap = packet.pts - end if packet.pts is not None and end is not None else 0
        yield packet, float(gap * packet.time_base) if gap else 0.0
        if packet.pts is not None:
            end = packet.pts + packet.duration if packet.duration else None


def _decoded(stream: av.AudioStream, packet: _Packet) -> list[av.AudioFrame] | None:
    """Decode a packet; None: it is damaged. A tag has no frames."""
    try:
        return [frame for frame in stream.codec_context.decode(packet) if frame.samples]
    except av.error.FFmpegError:
        return [] if bytes(packet).startswith(TAGS) else None


def _check_finite(part: Samples) -> None:
    if not np.isfinite(part).all():
        raise InvalidAudio("The audio has samples that are not finite (NaN or infinity)")


def _check_frame(frame: av.AudioFrame) -> None:
    """Raise InvalidAudio for a rate or a number of channels beyond the bounds."""
    rate = frame.sample_rate
    channels = frame.layout.nb_channels
    if not (rate in _SAMPLE_RATES and 1 <= channels <= MAX_CHANNELS):
        raise InvalidAudio(
            f"The audio has {channels} channels at {rate} Hz; "
            f"send 1 to {MAX_CHANNELS} channels at 4 to 192 kHz"
        )


def _resampled(
    frames: Iterator[av.AudioFrame], rate_from: Callable[[int], int]
) -> Iterator[Samples]:
    """Yield the frames' samples at the rate that `rate_from` finds for the first frame's.

    One channel stays one, more are mixed to two. Raises InvalidAudio when the file's rate or number
    of channels changes.
    """
    kind: tuple[int, int] | None = None
    resampler: av.AudioResampler | None = None
    position_s = 0.0
    for frame in frames:
        if resampler is None:
            kind = _kind(frame)
            layout = "mono" if kind[1] == 1 else "stereo"
            resampler = av.AudioResampler("fltp", layout, rate_from(frame.sample_rate))
        if _kind(frame) != kind:
            raise InvalidAudio(
                f"The audio's sample rate or number of channels changes at {position_s:.1f} "
                "seconds: send a file that keeps both"
            )
        position_s += frame.samples / frame.sample_rate
        frame.pts = None
        yield from _arrays(resampler, frame)
    if resampler is not None:
        yield from _arrays(resampler, None)


def _kind(frame: av.AudioFrame) -> tuple[int, int]:
    """The frame's sample rate and number of channels."""
    return frame.sample_rate, frame.layout.nb_channels


def _arrays(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> Iterator[Samples]:
    for resampled in resampler.resample(frame):
        if resampled is not None and resampled.samples:
            yield np.asarray(resampled.to_ndarray(), np.float32)
