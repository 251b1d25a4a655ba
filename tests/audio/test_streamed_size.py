"""Length of a streamed file before its audio is there."""

from typing import Any

import numpy as np
import pytest

from serve_app.audio.encoder import Encoder
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.audio.streamed_size import streamed_size
from serve_app.errors import InvalidRequest

TAGS = {"title": "lofi beat, Größe", "comment": "Made by a test."}
SIZED = [
    (name, rate, kbps)
    for name, spec in FORMATS.items()
    if spec.sized
    for rate in (None, *spec.sample_rates)
    for kbps in ((None, 64, 320) if spec.bitrates else (None,))
]


def written(encoding: Encoding, samples: np.ndarray[Any, Any], sample_rate: int) -> int:
    """Length of a streamed file that gets its samples as a stream does: a short part, then long ones."""
    encoder = Encoder(encoding, sample_rate, len(samples), streamed=True)
    size = len(encoder.add(samples[:, : sample_rate // 3]))
    for start in range(sample_rate // 3, samples.shape[1], sample_rate):
        size += len(encoder.add(samples[:, start : start + sample_rate]))
    return size + len(encoder.finish())


@pytest.mark.parametrize(("name", "rate", "kbps"), SIZED)
@pytest.mark.parametrize("channels", [1, 2])
def test_it_is_that_of_the_file(
    name: str, rate: int | None, kbps: int | None, channels: int
) -> None:
    encoding = Encoding(FORMATS[name], rate, bitrate_kbps=kbps, tags=TAGS)
    for samples in (640, 64_640, 100_480):
        noise = np.random.default_rng(0).normal(size=(channels, samples)).astype(np.float32)
        size = streamed_size(encoding, 32_000, channels, samples)
        assert size == written(encoding, noise, 32_000)


@pytest.mark.parametrize("name", ["flac", "opus"])
def test_it_is_unknown_where_it_depends_on_the_audio(name: str) -> None:
    assert streamed_size(Encoding(FORMATS[name]), 32_000, 1, 32_000) is None
    sizes = {
        written(Encoding(FORMATS[name]), samples, 32_000)
        for samples in (
            np.zeros((1, 64_000), np.float32),
            np.random.default_rng(0).normal(size=(1, 64_000)).astype(np.float32),
        )
    }
    assert len(sizes) == 2


def test_bit_rates_are_checked() -> None:
    with pytest.raises(InvalidRequest):
        Encoder(Encoding(FORMATS["opus"], bitrate_kbps=300), 48_000, 1, streamed=True)
