"""Chunk borders follow the sequence alone, and every chunk but a too early one has samples."""

import numpy as np
import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.streaming_decoder import StreamingDecoder


def test_the_first_chunk_waits_for_the_look_ahead(nano: Checkpoint) -> None:
    decoder = StreamingDecoder(nano.codec, False, first_chunk_frames=20, chunk_frames=50)
    border = 20 + nano.codec.lookahead_frames
    assert not decoder.is_due(border - 1)
    assert decoder.is_due(border)
    decoder.advance(border)
    assert decoder.frames_in == border
    assert not decoder.is_due(border + 49)
    assert decoder.is_due(border + 50)


@pytest.mark.parametrize("sizes", [[30, 1], [30, 20, 1], [1, 1], [51], [10] * 5])
def test_the_final_chunk_always_has_samples(nano: Checkpoint, sizes: list[int]) -> None:
    codes = torch.randint(0, nano.musicgen.config.codebook_size, (4, sum(sizes)))
    decoder = StreamingDecoder(nano.codec, False, first_chunk_frames=1, chunk_frames=1)
    parts = torch.split(codes, sizes, dim=-1)
    chunks = [decoder.decode(part, final=i == len(sizes) - 1) for i, part in enumerate(parts)]
    assert chunks[-1].shape[1] > 0
    whole = nano.codec.decode(codes[None])[0].numpy()
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, atol=1e-5)
