"""Tracks are marked in chunks as in the whole, each channel by itself, at the model's rate."""

import pytest
import torch

from serve_app.models.audioseal.chain import ChainState
from serve_app.models.audioseal.generator import Generator
from serve_app.models.audioseal.watermark import Watermark, WatermarkStream
from tests.audioseal import MESSAGE

RATE = 32_000


@pytest.fixture(scope="module")
def watermark(generator: Generator) -> Watermark:
    return Watermark(generator, RATE, MESSAGE, -30.0)


def test_chunks_join_to_the_whole(watermark: Watermark) -> None:
    audio = torch.randn(2, RATE + 123)
    whole = WatermarkStream(watermark).add(audio, True)
    assert whole.shape == audio.shape
    for sizes in (9_999, [1, 20_000, 12_122]):
        stream = WatermarkStream(watermark)
        parts = torch.split(audio, sizes, dim=1)
        chunks = [stream.add(part, number == len(parts) - 1) for number, part in enumerate(parts)]
        torch.testing.assert_close(torch.cat(chunks, dim=1), whole, rtol=0, atol=1e-4)


def test_the_generators_output_is_added(generator: Generator, watermark: Watermark) -> None:
    """The track is loud enough for the watermark to be added as it is."""
    audio = 300 * torch.randn(1, RATE // 2)
    mark = generator.chain(MESSAGE, RATE).advance(audio[None], ChainState(), True)
    marked = WatermarkStream(watermark).add(audio, True)
    assert mark is not None
    assert mark.abs().max() > 0.01
    torch.testing.assert_close(marked, audio + mark[0], rtol=0, atol=1e-4)


def test_the_watermark_is_below_its_level(watermark: Watermark) -> None:
    audio = 0.1 * torch.randn(2, RATE)
    mark = WatermarkStream(watermark).add(audio, True) - audio
    level = 10 * (mark.square().mean() / audio.square().mean()).log10()
    assert -40 < level < -30


def test_channels_are_marked_apart(watermark: Watermark) -> None:
    audio = torch.randn(2, RATE // 2)
    both = WatermarkStream(watermark).add(audio, True)
    left = WatermarkStream(watermark).add(audio[:1], True)
    torch.testing.assert_close(both[:1], left, rtol=0, atol=1e-6)


def test_audio_waits_for_the_lookahead_alone(watermark: Watermark) -> None:
    audio = torch.randn(1, RATE)
    made = WatermarkStream(watermark).add(audio, False).shape[1]
    assert made >= RATE - watermark.lookahead
    assert watermark.lookahead < 0.27 * RATE


def test_a_message_has_sixteen_bits(generator: Generator) -> None:
    with pytest.raises(ValueError, match="65536 has more than 16 bits"):
        Watermark(generator, RATE, 65_536, -30.0)
