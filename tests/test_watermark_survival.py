"""The watermark that a replica adds is still in the files of every format, and in streams.

With random weights no detector finds it. The oracle is the watermark itself: the difference of the
decoded files of marked and of unmarked audio correlates with it.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from serve_app.audio.encoder import Encoder, encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.audio.reader import read_samples
from serve_app.models.audioseal.generator import Generator
from serve_app.models.audioseal.watermark import Watermark, WatermarkStream
from serve_app.models.encodec.conv import Conv1d
from tests.audioseal import MESSAGE

RATE = 32_000
Samples = NDArray[np.float32]
# Least correlation. The noise of lossy codecs, about as loud as the watermark, differs, too.
LEAST = {"wav": 0.99, "flac": 0.99, "mp3": 0.6, "opus": 0.5}


@pytest.fixture(scope="module")
def track() -> Samples:
    """Two seconds of chords with noise."""
    t = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal((1, len(t)))
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6, 1318.5))
    return np.asarray(0.1 * chord + 0.02 * noise, np.float32)


@pytest.fixture(scope="module")
def marked(track: Samples) -> Samples:
    torch.manual_seed(0)
    generator = Generator(causal=True).eval().requires_grad_(False)
    last = generator.decoder[-1]
    assert isinstance(last, Conv1d)
    assert last.bias is not None
    last.bias.zero_()  # random weights would make a constant, which codecs remove
    last.weight.sub_(last.weight.mean(dim=-1, keepdim=True))
    watermark = Watermark(generator, RATE, MESSAGE, -30.0)
    return WatermarkStream(watermark).add(torch.from_numpy(track), True).numpy()


def decoded(samples: Samples, name: str) -> Samples:
    content = encode(samples, RATE, Encoding(FORMATS[name]))
    return read_samples(content, 60.0, RATE)[0]


def correlation(found: Samples, watermark: Samples) -> float:
    """Correlation of a signal with the watermark, at the delay of the codec: the best one."""
    length = 2 * max(found.shape[1], watermark.shape[1])
    spectrum = np.fft.rfft(found[0], length) * np.fft.rfft(watermark[0], length).conj()
    best = np.fft.irfft(spectrum, length).max()
    return float(best / np.linalg.norm(found) / np.linalg.norm(watermark))


@pytest.mark.parametrize("name", LEAST)
def test_the_watermark_is_in_whole_files(name: str, track: Samples, marked: Samples) -> None:
    difference = decoded(marked, name) - decoded(track, name)
    assert correlation(difference, marked - track) > LEAST[name]
    noise = np.random.default_rng(1).standard_normal(track.shape).astype(np.float32)
    assert correlation(difference, noise) < 0.1, "other signals do not correlate"


def test_the_watermark_is_in_streams(track: Samples, marked: Samples) -> None:
    encoder = Encoder(Encoding(FORMATS["wav"]), RATE, 1, streamed=True)
    parts = [encoder.add(part) for part in np.array_split(marked, 7, axis=1)]
    found, _ = read_samples(b"".join([*parts, encoder.finish()]), 60.0, RATE)
    assert correlation(found - track, marked - track) > 0.99


def test_mastering_scales_the_watermark_with_its_audio(track: Samples, marked: Samples) -> None:
    """Its level below the audio stays, and the peak is that of the marked audio."""
    mastered = Mastering(Normalization.PEAK).whole(marked, RATE)
    gain = np.abs(mastered).max() / np.abs(marked).max()
    assert np.abs(mastered).max() == pytest.approx(10 ** (-1 / 20), rel=1e-4)
    np.testing.assert_allclose(mastered - gain * track, gain * (marked - track), atol=1e-5)
