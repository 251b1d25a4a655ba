"""Layout of int8 weights: tiles of TILE outputs, each read STRIDE inputs at a time.

`qweight` is uint8 [N / TILE, ceil(K / STRIDE), TILE, STRIDE]: int8 values plus OFFSET, modulo 256.
OFFSET depends on the CPU: VNNI's dot-product instruction (vpdpbusd) takes one unsigned operand.
Padding inputs hold OFFSET, which stands for 0.
"""

import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.target import DOT_PRODUCT

TILE = 4  # outputs computed together; N is a multiple
STRIDE = 64  # inputs read together
OFFSET = 128 if DOT_PRODUCT.unsigned else 0
MAX_INT8 = 127  # quantization is symmetric: -128 is not used


def pack_int8(weight: NDArray[np.int8]) -> NDArray[np.uint8]:
    """int8 weight [N, K] -> qweight [N / TILE, ceil(K / STRIDE), TILE, STRIDE].

    N is a multiple of TILE.
    """
    n, size = weight.shape
    padded = np.full((n, -(-size // STRIDE) * STRIDE), OFFSET, np.uint8)
    padded[:, :size] += weight.view(np.uint8)
    return np.ascontiguousarray(padded.reshape(n // TILE, TILE, -1, STRIDE).swapaxes(1, 2))


def unpack_int8(qweight: NDArray[np.uint8], size: int) -> NDArray[np.int8]:
    """Invert `pack_int8` for a weight of `size` inputs -> int8 [N, size]."""
    padded = qweight.swapaxes(1, 2).reshape(TILE * len(qweight), -1)[:, :size]
    return (padded - np.uint8(OFFSET)).view(np.int8)
