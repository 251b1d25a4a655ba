"""The generator equals AudioSeal's own, and its message is in the watermark."""

import pytest
import torch

from serve_app.models.audioseal.chain import ChainState
from serve_app.models.audioseal.generator import Generator, bits_of
from tests.audioseal import MESSAGE


def test_bits_begin_with_the_highest() -> None:
    assert bits_of(0x8001).tolist() == [1] + 14 * [0] + [1]


def test_messages_have_different_watermarks(generator: Generator) -> None:
    audio = torch.randn(1, 1, 3200)
    marks = [generator.chain(message).advance(audio, ChainState(), True) for message in (0, 1)]
    assert marks[0] is not None
    assert marks[1] is not None
    assert (marks[0] - marks[1]).abs().max() > 1e-4


def test_the_sample_rate_must_have_whole_frames(generator: Generator) -> None:
    with pytest.raises(ValueError, match="11025 is no multiple of 50 Hz"):
        generator.chain(MESSAGE, 11_025)
