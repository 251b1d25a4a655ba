"""Audio files as callers send them: written by several libraries, damaged, and joined."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FLAC, MP3, OPUS, WAV, Encoding

Samples = NDArray[np.float32]

CASES = Path(__file__).parent / "cases"
RATE = 32_000
# Muxer, encoder and sample rate of each kind that this project reads but does not write.
READ_ONLY = {
    "m4a": ("ipod", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "aac": ("adts", "aac", 44_100),
    "aiff": ("aiff", "pcm_s16be", 44_100),
    "w64": ("w64", "pcm_s24le", 32_000),
    "alac": ("ipod", "alac", 44_100),
    "oggflac": ("ogg", "flac", 32_000),
}


def case(name: str) -> bytes:
    return (CASES / name).read_bytes()


def tone(duration_s: float = 2.0, channels: int = 1, rate: int = RATE) -> Samples:
    """A sine of 330 Hz, and of 660 Hz in the second channel, in some noise; repeatable."""
    t = np.arange(round(duration_s * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((channels, len(t)))
    sines = [np.sin(2 * np.pi * 330 * (c + 1) * t) for c in range(channels)]
    return np.asarray(0.4 * np.stack(sines) + 0.01 * noise, np.float32)


def pcm_file(
    samples: Samples, rate: int, file_format: str = "WAV", subtype: str = "PCM_16"
) -> bytes:
    """A file by libsndfile, of samples [channels, n]."""
    file = io.BytesIO()
    soundfile.write(file, samples.T, rate, format=file_format, subtype=subtype)
    return file.getvalue()


def muxed(samples: Samples, rate: int, muxer: str, codec: str) -> bytes:
    """A file by FFmpeg, whose timestamps tell the encoder's delay where the container has them."""
    file = io.BytesIO()
    layout = "mono" if len(samples) == 1 else "stereo"
    with av.open(file, "w", format=muxer) as container:
        stream = cast(av.AudioStream, container.add_stream(codec, rate=rate, layout=layout))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.pts = 0
        frame.time_base = Fraction(1, rate)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def video(samples: Samples | None) -> bytes:
    """An MP4 file with black pictures, and with samples a soundtrack at 44.1 kHz."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound = None
        if samples is not None:
            sound = container.add_stream("aac", rate=44_100, layout="mono")
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            picture.pts = number
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        if sound is not None and samples is not None:
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 44_100
            frame.pts = 0
            container.mux([*sound.encode(frame), *sound.encode(None)])
    return file.getvalue()


def file_of(kind: str, samples: Samples | None = None) -> bytes:
    """A file of one kind: 2 s of the tone, or the samples at the kind's rate."""
    if kind == "vorbis":
        return pcm_file(tone() if samples is None else samples, RATE, "OGG", "VORBIS")
    if kind in READ_ONLY:
        muxer, codec, rate = READ_ONLY[kind]
        return muxed(tone(rate=rate) if samples is None else samples, rate, muxer, codec)
    written = {"wav": WAV, "flac": FLAC, "mp3": MP3, "opus": OPUS}[kind]
    return encode(tone() if samples is None else samples, RATE, Encoding(written))


KINDS = ("wav", "flac", "mp3", "opus", "vorbis", *READ_ONLY)


def damaged(content: bytes, start: int, length: int) -> bytes:
    """The file with bytes of noise in it."""
    noise = np.random.default_rng(1).integers(0, 256, length, dtype=np.uint8).tobytes()
    return content[:start] + noise + content[start + length :]


def id3(size: int = 500) -> bytes:
    """An ID3v2.3 tag with a title, of `size` bytes behind its header."""
    length = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    title = b"TIT2" + (size - 10).to_bytes(4, "big") + bytes(3) + b"a" * (size - 11)
    return b"ID3\x03\x00\x00" + length + title


def apev2() -> bytes:
    """An APEv2 tag with a header and a footer, and one item."""
    item = (5).to_bytes(4, "little") + bytes(4) + b"Title\0" + b"hello"

    def end(flags: int) -> bytes:
        numbers = (2000, len(item) + 32, 1, flags)
        return b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in numbers) + bytes(8)

    return end(0xA0000000) + item + end(0x80000000)


def lyrics3() -> bytes:
    """A Lyrics3v2 block, in front of an ID3v1 tag."""
    body = b"LYRICSBEGIN" + b"IND0000200" + b"LYR00600" + b"la la " * 100
    return body + f"{len(body):06}".encode() + b"LYRICS200" + b"TAG" + b"x" * 125


def with_bytes(content: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    """The file with `new` written over it, `offset` bytes behind the beginning of a marker."""
    start = content.index(marker) + offset
    return content[:start] + new + content[start + len(new) :]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The file with random faults: bytes changed, blocks cut out, doubled, moved, or filled."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        start, stop = sorted(int(n) for n in rng.integers(0, len(changed) + 1, 2))
        stop = min(stop, start + int(rng.integers(1, 4096)))
        block: Any = changed[start:stop]
        match int(rng.integers(0, 6)):
            case 0:
                changed[start:stop] = rng.integers(0, 256, len(block), dtype=np.uint8).tobytes()
            case 1:
                del changed[start:stop]
            case 2:
                changed[start:start] = block
            case 3:
                changed[start:stop] = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * len(block)
            case 4:
                del changed[stop:]
            case _:
                for position in rng.integers(0, max(1, min(len(changed), 256)), 4):
                    if position < len(changed):
                        changed[position] = int(rng.integers(0, 256))
    return bytes(changed)
