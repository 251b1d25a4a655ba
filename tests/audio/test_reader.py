"""Whole files: read exactly at their own rate, resampled as well as torchaudio does."""

import numpy as np
import pytest
import torch
import torchaudio

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import WAV, Encoding, SampleFormat
from serve_app.audio.reader import read_samples
from serve_app.errors import InvalidAudio
from tests.audio.files import RATE, pcm_file, tone


@pytest.mark.parametrize("channels", [1, 2])
def test_float_samples_are_read_exactly(channels: int) -> None:
    content = encode(tone(2.0, channels), RATE, Encoding(WAV, sample_format=SampleFormat.FLOAT32))
    for wanted in (None, RATE):
        samples, rate = read_samples(content, 3.0, wanted)
        assert rate == RATE
        assert np.array_equal(samples, tone(2.0, channels))


@pytest.mark.parametrize(("rate", "expected"), [(96_000, 48_000), (44_100, 44_100)])
def test_rates_above_48_khz_are_lowered(rate: int, expected: int) -> None:
    samples, sample_rate = read_samples(pcm_file(tone(1.0, rate=rate), rate), 3.0)
    assert (samples.shape, sample_rate) == ((1, expected), expected)


def test_a_file_as_long_as_allowed_is_read() -> None:
    samples, _ = read_samples(pcm_file(tone(3.0), RATE), 3.0)
    assert samples.shape == (1, 3 * RATE)
    with pytest.raises(InvalidAudio, match=r"longer than the allowed 2\.9 seconds"):
        read_samples(pcm_file(tone(3.0), RATE), 2.9)


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000, 96_000])
def test_resampling_is_as_torchaudios(rate: int) -> None:
    """The sounds below the filters' edges differ by less than 1e-3 of full scale."""
    t = np.arange(2 * rate) / rate
    sines = sum(np.sin(2 * np.pi * hz * t) for hz in (110, 440, 1760, 5000)) / 8
    samples = np.asarray(sines, np.float32)[None]
    resampled, _ = read_samples(pcm_file(samples, rate, subtype="FLOAT"), 3.0, RATE)
    expected = torchaudio.functional.resample(
        torch.from_numpy(samples), rate, RATE, lowpass_filter_width=64
    ).numpy()
    assert resampled.shape == expected.shape
    inner = slice(1000, -1000)  # the filters differ where the sound begins and ends
    assert np.abs(resampled[:, inner] - expected[:, inner]).max() < 1e-3
