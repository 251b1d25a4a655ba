"""Chained Ogg files are read whole, or refused with the second at which the format changes."""

import io

import av
import pytest

from serve_app.audio.decoder import Decoder
from serve_app.audio.ogg_links import format_changes
from serve_app.errors import InvalidAudio
from tests.audio.files import file_of, muxed, pcm_file, tone


def vorbis(channels: int = 1, rate: int = 44_100) -> bytes:
    return pcm_file(tone(3.0, channels, rate), rate, "OGG", "VORBIS")


def opus(channels: int = 1) -> bytes:
    return muxed(tone(3.0, channels, 48_000), 48_000, "ogg", "libopus")


def flac(channels: int = 1, rate: int = 32_000) -> bytes:
    return muxed(tone(3.0, channels, rate), rate, "ogg", "flac")


def flac_of_24_bits() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("flac", rate=32_000, layout="mono")
        stream.format = "s32"
        frame = av.AudioFrame.from_ndarray(tone(3.0), format="fltp", layout="mono")
        frame.sample_rate = 32_000
        frame.pts = 0
        for part in av.AudioResampler("s32", "mono", 32_000).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def seconds(content: bytes) -> float:
    decoder = Decoder(content, 30.0, lambda rate: rate)
    length = sum(int(part.shape[1]) for part in decoder.parts())
    return length / decoder.sample_rate


@pytest.mark.parametrize("link", [vorbis(), opus(), opus(2), flac()])
def test_links_of_one_format_are_read(link: bytes) -> None:
    assert seconds(link * 3) == pytest.approx(9.0, abs=0.05)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (vorbis(), vorbis(rate=48_000)),
        (vorbis(), vorbis(2)),
        (opus(), opus(2)),
        (flac(), flac(rate=44_100)),
        (flac(), flac(2)),
        (flac(), flac_of_24_bits()),
        (opus(), vorbis(rate=48_000)),
        (vorbis(rate=48_000), opus()),
        (flac(), opus()),
    ],
    ids=[
        "rate",
        "channels",
        "opus",
        "flac rate",
        "flac channels",
        "flac bits",
        "o+v",
        "v+o",
        "f+o",
    ],
)
def test_a_link_of_another_format_is_refused(first: bytes, second: bytes) -> None:
    with pytest.raises(InvalidAudio, match=r"changes at 3\.0 seconds: send a file that keeps both"):
        seconds(first + second)
    with pytest.raises(InvalidAudio, match=r"changes at 6\.0 seconds"):
        seconds(first + first + second)


def first_page(head: bytes) -> bytes:
    return b"OggS\x00\x02" + bytes(20) + bytes([1, len(head)]) + head


def test_streams_side_by_side_are_one_link() -> None:
    """The first pages of a film's streams follow one another; its first audio is read."""
    film = first_page(b"\x80theora" + bytes(30)) + opus() + first_page(b"\x80theora" + bytes(30))
    assert not format_changes(film + opus())
    two = first_page(b"OpusHead\x01\x02" + bytes(9)) + first_page(b"OpusHead\x01\x01" + bytes(9))
    assert not format_changes(two + b"OggS\x00\x00" + two)
    assert format_changes(two + b"OggS\x00\x00" + opus())


@pytest.mark.parametrize(
    "content", [b"", b"OggS\x00\x02", b"OggS\x00\x02" + bytes(21) + b"\x09OpusHead"]
)
def test_damaged_pages_change_nothing(content: bytes) -> None:
    assert not format_changes(content + file_of("wav"))
