"""Files: the right bytes, clipped, in both channel counts."""

import io

import numpy as np
import pytest
import soundfile

from serve_app.audio.file_format import FileFormat, encode


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("file_format", FileFormat)
def test_file_holds_the_samples(file_format: FileFormat, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (channels, 1000)).astype(np.float32)
    content = encode(samples, 32_000, file_format)
    read, sample_rate = soundfile.read(io.BytesIO(content), always_2d=True)
    assert sample_rate == 32_000
    assert soundfile.info(io.BytesIO(content)).format == file_format.upper()
    np.testing.assert_allclose(read.T, samples, atol=1 / 32_768)


def test_wav_has_the_size_that_callers_know() -> None:
    """30 s of 16-bit mono at 32 kHz behind a header of 44 bytes."""
    assert len(encode(np.zeros((1, 30 * 32_000), np.float32), 32_000, FileFormat.WAV)) == 1_920_044


def test_loud_samples_are_clipped_not_wrapped() -> None:
    content = encode(np.array([[2.0, -2.0, 0.0]], np.float32), 32_000, FileFormat.WAV)
    read, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    assert read.tolist() == [32767, -32768, 0]
