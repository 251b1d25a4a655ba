"""Files that callers send: read as they are, or refused with a reason."""

import io

import numpy as np
import pytest
import soundfile

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FLAC, MP3, OPUS, WAV, Encoding, FormatSpec, SampleFormat
from serve_app.audio.reader import read_audio
from serve_app.errors import InvalidAudio

FILES = [WAV, FLAC, MP3, OPUS]
RATE = 32_000


def tone(channels: int = 1, duration_s: float = 2.0) -> np.ndarray:
    t = np.arange(round(duration_s * RATE)) / RATE
    return np.stack([0.4 * np.sin(2 * np.pi * 330 * (c + 1) * t) for c in range(channels)]).astype(
        np.float32
    )


def file(file_format: FormatSpec, channels: int = 1) -> bytes:
    return encode(tone(channels), RATE, Encoding(file_format))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("file_format", FILES)
def test_written_files_are_read_back(file_format: FormatSpec, channels: int) -> None:
    prompt = read_audio(file(file_format, channels), max_duration_s=3.0)
    rate = 48_000 if file_format is OPUS else RATE
    assert (prompt.sample_rate, len(prompt.samples)) == (rate, channels)
    assert prompt.duration_s == pytest.approx(2.0, abs=0.03)
    spectrum = np.abs(np.fft.rfft(prompt.samples[channels - 1]))
    assert np.argmax(spectrum) * rate / prompt.samples.shape[1] == pytest.approx(
        330 * channels, abs=2
    )
    if file_format in (WAV, FLAC):
        assert np.abs(prompt.samples - tone(channels)).max() < 1e-4


def test_float_samples_are_read_exactly() -> None:
    prompt = read_audio(encode(tone(), RATE, Encoding(sample_format=SampleFormat.FLOAT32)), 3.0)
    assert np.array_equal(prompt.samples, tone())


def test_a_streamed_wav_has_an_open_end() -> None:
    content = bytearray(file(WAV))
    content[4:8] = b"\xff\xff\xff\xff"
    assert read_audio(bytes(content), 3.0).duration_s == 2.0


@pytest.mark.parametrize("file_format", FILES)
def test_a_file_that_is_too_long_is_refused(file_format: FormatSpec) -> None:
    with pytest.raises(InvalidAudio, match=r"longer than the allowed 1\.5 seconds"):
        read_audio(file(file_format), max_duration_s=1.5)


@pytest.mark.parametrize("kept", [0.6, 0.01])
@pytest.mark.parametrize("file_format", [WAV, FLAC, MP3])
def test_a_file_that_is_cut_off_is_refused(file_format: FormatSpec, kept: float) -> None:
    content = file(file_format)
    with pytest.raises(InvalidAudio, match="cut off"):
        read_audio(content[: int(len(content) * kept)], 3.0)


@pytest.mark.parametrize("file_format", [FLAC, MP3, OPUS])
def test_a_damaged_file_is_refused(file_format: FormatSpec) -> None:
    content = file(file_format)
    with pytest.raises(InvalidAudio, match=r"damaged|cut off"):
        read_audio(content[:200] + bytes(byte ^ 0x5A for byte in content[200:]), 3.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"RIFF", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\nfile:///etc/passwd\n", b"ffconcat version 1.0\n",
     b"\x00\x00\x00\x18ftypmp42", b"<svg/>", b"OggS" + bytes(60), b"fLaC" + bytes(60), b"ID3" + bytes(60),
     b"RIFF\x10\x00\x00\x00WAVE" + bytes(20), b"RIFF\xff\xff\xff\xffAVI LIST"],
)  # fmt: skip
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidAudio, match="audio"):
        read_audio(content, 3.0)


def test_more_than_two_channels_are_refused() -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros((800, 6)), 8000, format="WAV")
    with pytest.raises(InvalidAudio, match="6 channels at 8000 Hz"):
        read_audio(content.getvalue(), 3.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    samples = tone()
    samples[0, 100] = value
    content = io.BytesIO()
    soundfile.write(content, samples.T, RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(InvalidAudio, match="samples that are not finite"):
        read_audio(content.getvalue(), 3.0)


def test_a_file_without_samples_says_so() -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros((0, 1)), RATE, format="WAV")
    with pytest.raises(InvalidAudio, match="has no samples"):
        read_audio(content.getvalue(), 3.0)
