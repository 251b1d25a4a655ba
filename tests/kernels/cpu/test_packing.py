"""Packed int8 weights: the layout, and back."""

import numpy as np
import pytest

from serve_app.kernels.cpu.packing import OFFSET, STRIDE, TILE, pack_int8, unpack_int8


@pytest.mark.parametrize("size", [1, STRIDE, 100])
def test_unpacking_inverts_packing(size: int) -> None:
    weight = np.random.default_rng(0).integers(-127, 128, (3 * TILE, size)).astype(np.int8)
    qweight = pack_int8(weight)
    assert qweight.shape == (3, -(-size // STRIDE), TILE, STRIDE)
    assert np.array_equal(unpack_int8(qweight, size), weight)


def test_padding_stands_for_zero() -> None:
    qweight = pack_int8(np.ones((TILE, 3), np.int8))
    assert (qweight[0, 0, :, :3] == OFFSET + 1).all()
    assert (qweight[0, 0, :, 3:] == OFFSET).all()
