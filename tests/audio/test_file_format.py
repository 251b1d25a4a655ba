"""The table of formats, and encodings that fit it."""

import av
import pytest

from serve_app.audio.file_format import (
    FLAC,
    FORMATS,
    MP3,
    OPUS,
    WAV,
    Encoding,
    FormatSpec,
    SampleFormat,
    format_of_suffix,
)
from serve_app.errors import InvalidRequest


@pytest.mark.parametrize("spec", FORMATS.values(), ids=str)
def test_ffmpeg_has_every_codec_of_the_table(spec: FormatSpec) -> None:
    assert spec.codecs
    for codec in spec.codecs.values():
        assert av.codec.Codec(codec.name, "w").type == "audio"
        assert codec.muxer in av.formats_available


@pytest.mark.parametrize("spec", FORMATS.values(), ids=str)
def test_defaults_are_among_the_choices(spec: FormatSpec) -> None:
    assert spec.default_sample_rate in spec.sample_rates
    assert spec.bitrates is None or spec.bitrates.default in spec.bitrates
    assert spec.media_type.startswith("audio/")


@pytest.mark.parametrize(
    ("suffix", "spec"),
    [("wav", WAV), (".MP3", MP3), (".ogg", OPUS), ("opus", OPUS), (".aiff", None), ("", None)],
)
def test_files_are_known_by_their_suffix(suffix: str, spec: FormatSpec | None) -> None:
    assert format_of_suffix(suffix) is spec


def test_suffixes_are_unambiguous() -> None:
    suffixes = [suffix for spec in FORMATS.values() for suffix in spec.suffixes]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize(
    ("encoding", "bit_rate"),
    [(Encoding(MP3), 192_000), (Encoding(OPUS, bitrate_kbps=6), 6_000), (Encoding(FLAC), None)],
)
def test_bit_rates(encoding: Encoding, bit_rate: int | None) -> None:
    assert encoding.bit_rate == bit_rate


@pytest.mark.parametrize(
    ("encoding", "rate"),
    [
        (Encoding(WAV), 32_000),
        (Encoding(OPUS), 48_000),
        (Encoding(OPUS, sample_rate=24_000), 24_000),
    ],
)
def test_sample_rates(encoding: Encoding, rate: int) -> None:
    assert encoding.rate_from(32_000) == rate


@pytest.mark.parametrize("kbps", [5, 321])
def test_bit_rates_of_opus_are_a_range(kbps: int) -> None:
    with pytest.raises(InvalidRequest, match="bitrate_kbps of opus must be between 6 and 320"):
        Encoding(OPUS, bitrate_kbps=kbps)


def test_errors_name_the_formats_that_can() -> None:
    with pytest.raises(
        InvalidRequest, match="sample_format 'float32' is not available in flac: use wav or pcm"
    ):
        Encoding(FLAC, sample_format=SampleFormat.FLOAT32)
    with pytest.raises(
        InvalidRequest, match="bitrate_kbps does not apply to wav: leave it out, or use mp3 or opus"
    ):
        Encoding(WAV, bitrate_kbps=128)


@pytest.mark.parametrize(
    ("encoding", "needs"),
    [
        (Encoding(OPUS, bitrate_kbps=257), True),
        (Encoding(OPUS, bitrate_kbps=256), False),
        (Encoding(OPUS), False),
        (Encoding(MP3, bitrate_kbps=320), False),
        (Encoding(WAV), False),
    ],
)
def test_a_high_bit_rate_needs_two_channels(encoding: Encoding, needs: bool) -> None:
    assert encoding.needs_two_channels is needs
    encoding.check_channels(2)
    if needs:
        with pytest.raises(InvalidRequest, match="between 6 and 256 for one channel"):
            encoding.check_channels(1)
    else:
        encoding.check_channels(1)
