"""Chunk borders follow the sequence alone, and every chunk but a too early one has samples."""

import math

import numpy as np
import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.models.audioseal.generator import Generator
from serve_app.models.audioseal.watermark import Watermark, WatermarkStream
from tests.audioseal import MESSAGE


def test_the_first_chunk_waits_for_the_look_ahead(nano: Checkpoint) -> None:
    decoder = StreamingDecoder(nano.codec, False, first_chunk_frames=20, chunk_frames=50)
    border = 20 + nano.codec.lookahead_frames
    assert not decoder.is_due(border - 1)
    assert decoder.is_due(border)
    decoder.advance(border)
    assert decoder.frames_in == border
    assert not decoder.is_due(border + 20)
    assert decoder.is_due(border + 21), "chunks grow, see chunk_sizes"


@pytest.mark.parametrize("sizes", [[30, 1], [30, 20, 1], [1, 1], [51], [10] * 5])
def test_the_final_chunk_always_has_samples(nano: Checkpoint, sizes: list[int]) -> None:
    codes = torch.randint(0, nano.musicgen.config.codebook_size, (4, sum(sizes)))
    decoder = StreamingDecoder(nano.codec, False, first_chunk_frames=1, chunk_frames=1)
    parts = torch.split(codes, sizes, dim=-1)
    chunks = [decoder.decode(part, final=i == len(sizes) - 1) for i, part in enumerate(parts)]
    assert chunks[-1].shape[1] > 0
    whole = nano.codec.decode(codes[None])[0].numpy()
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, atol=1e-5)


@pytest.fixture(scope="module")
def watermark(nano: Checkpoint) -> Watermark:
    torch.manual_seed(0)
    generator = Generator(causal=True).eval().requires_grad_(False)
    return Watermark(generator, nano.sample_rate, MESSAGE, -30.0)


def test_a_watermark_makes_the_first_chunk_wait_for_its_look_ahead(
    nano: Checkpoint, watermark: Watermark
) -> None:
    decoder = StreamingDecoder(nano.codec, False, 20, 50, watermark)
    ahead = math.ceil(watermark.lookahead / nano.codec.config.hop_length)
    assert not decoder.is_due(20 + nano.codec.lookahead_frames + ahead - 1)
    border = 20 + nano.codec.lookahead_frames + ahead
    assert decoder.is_due(border)
    codes = torch.randint(0, nano.musicgen.config.codebook_size, (4, border))
    assert decoder.decode(codes, final=False).shape[1] >= 20 * nano.codec.config.hop_length


@pytest.mark.parametrize("sizes", [[40, 20, 1], [1, 1], [61]])
def test_chunks_are_marked_as_the_whole(
    nano: Checkpoint, watermark: Watermark, sizes: list[int]
) -> None:
    codes = torch.randint(0, nano.musicgen.config.codebook_size, (4, sum(sizes)))
    decoder = StreamingDecoder(nano.codec, False, 1, 1, watermark)
    parts = torch.split(codes, sizes, dim=-1)
    chunks = [decoder.decode(part, final=i == len(sizes) - 1) for i, part in enumerate(parts)]
    assert chunks[-1].shape[1] > 0
    plain = nano.codec.decode(codes[None])[0]
    whole = WatermarkStream(watermark).add(plain, True).numpy()
    joined = np.concatenate(chunks, axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-4)
    assert np.abs(joined - plain.numpy()).max() > 1e-6, "it is marked"
