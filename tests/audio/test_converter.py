"""Conversion as a stream gives what mastering and encoding the whole file gives."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from serve_app.audio.converter import Converter
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FLAC, MP3, OPUS, WAV, Encoding, SampleFormat
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.audio.reader import read_samples
from serve_app.errors import InvalidAudio, InvalidRequest
from tests.audio.files import RATE, case, damaged, file_of, pcm_file, tone

FLOAT = Encoding(WAV, sample_format=SampleFormat.FLOAT32)


def converted(
    content: bytes, path: Path, encoding: Encoding = FLOAT, mastering: Mastering | None = None
) -> bytes:
    Converter(content, 30.0, encoding, mastering or Mastering()).write(path)
    return path.read_bytes()


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("channels", [1, 2])
def test_streaming_equals_mastering_the_whole(
    normalization: Normalization, channels: int, tmp_path: Path
) -> None:
    mastering = Mastering(normalization, fade_in_s=0.3, fade_out_s=0.5)
    samples = tone(2.5, channels)
    expected = encode(mastering.whole(samples, RATE), RATE, FLOAT)
    content = pcm_file(samples, RATE, subtype="FLOAT")
    streamed = converted(content, tmp_path / "a", mastering=mastering)
    assert len(streamed) == len(expected)
    difference = read_samples(streamed, 30.0)[0] - read_samples(expected, 30.0)[0]
    assert np.abs(difference).max() < 1e-6


@pytest.mark.parametrize("file_format", [WAV, FLAC, MP3, OPUS], ids=str)
def test_files_are_complete(file_format: object, tmp_path: Path) -> None:
    content = converted(file_of("m4a"), tmp_path / "a", Encoding(file_format))  # type: ignore[arg-type]
    samples, rate = soundfile.read(io.BytesIO(content))
    assert len(samples) / rate == pytest.approx(2.0, abs=0.05)


def test_the_new_rate_is_the_formats(tmp_path: Path) -> None:
    content = pcm_file(tone(rate=47_999), 47_999)
    samples, rate = soundfile.read(io.BytesIO(converted(content, tmp_path / "a")))
    assert (len(samples), rate) == (96_000, 48_000)
    wanted = Encoding(FLAC, sample_rate=16_000)
    samples, rate = soundfile.read(io.BytesIO(converted(content, tmp_path / "a", wanted)))
    assert (len(samples), rate) == (32_000, 16_000)


def test_a_refused_file_tells_how_much_was_decoded(tmp_path: Path) -> None:
    content = file_of("flac", tone(6.0))
    converter = Converter(damaged(content, len(content) // 2, 3000), 30.0, FLOAT, Mastering())
    with pytest.raises(InvalidAudio, match="damaged at"):
        converter.write(tmp_path / "a")
    assert 2.0 < converter.decoded_s < 4.0
    converter = Converter(case("long_silence.flac"), 5.0, FLOAT, Mastering())
    with pytest.raises(InvalidAudio, match="longer than the allowed 5 seconds"):
        converter.write(tmp_path / "a")
    assert converter.decoded_s == pytest.approx(5.0, abs=0.1)


def test_a_bit_rate_that_the_channels_exclude_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="between 6 and 256 for one channel"):
        converted(file_of("wav"), tmp_path / "a", Encoding(OPUS, bitrate_kbps=300))


def test_silence_stays_silent(tmp_path: Path) -> None:
    silence = pcm_file(np.zeros((1, RATE), np.float32), RATE)
    for normalization in Normalization:
        content = converted(silence, tmp_path / "a", mastering=Mastering(normalization))
        assert not read_samples(content, 30.0)[0].any()
