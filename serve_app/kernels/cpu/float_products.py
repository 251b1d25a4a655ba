"""Products with float weights: float32, or the bits of fp16 or bf16 as uint16 or int16."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import SERIAL, Floats
from serve_app.kernels.cpu.intrinsics import widen
from serve_app.kernels.cpu.packing import TILE
from serve_app.kernels.cpu.team import Team, begin, proceed
from serve_app.kernels.cpu.weight_parts import put, tiles_and_share


@SERIAL  # type: ignore[untyped-decorator]
def multiply_float(
    team: Team, x: Floats, weight: NDArray[Any], bias: Floats, out: Floats, step: int,
    activate: bool, add: bool,
) -> None:  # fmt: skip
    """Run the phase of `products.multiply`."""
    tiles, share = tiles_and_share(team, weight)
    parts = -(-tiles // share)
    values = np.empty((len(x), share * TILE), np.float32)
    part = begin(team, parts)
    while part >= 0:
        first = part * share * TILE
        last = min(first + share * TILE, len(weight))
        for j in range(first, last, TILE):
            _dot_rows(x, weight[j : j + TILE], values[:, j - first : j - first + TILE])
        for i in range(len(x)):
            put(values[i], bias[first:last], activate, add, out[i * step, first:last])
        part = proceed(team, parts)


@SERIAL  # type: ignore[untyped-decorator]
def _dot_rows(x: Floats, weight: NDArray[Any], values: Floats) -> None:
    """values [n, TILE] = x [n, K] @ weight [TILE, K].T

    Processes rows in pairs: the weights come from memory once, then from the cache.
    """
    n, size = x.shape
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for i in range(0, n, 2):
        other = min(i + 1, n - 1)
        x0 = x[i]
        x1 = x[other]
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
        for d in range(size):
            v0, v1, v2, v3 = widen(w0[d]), widen(w1[d]), widen(w2[d]), widen(w3[d])
            a0 += v0 * x0[d]
            a1 += v1 * x0[d]
            a2 += v2 * x0[d]
            a3 += v3 * x0[d]
            b0 += v0 * x1[d]
            b1 += v1 * x1[d]
            b2 += v2 * x1[d]
            b3 += v3 * x1[d]
        values[i, 0], values[i, 1], values[i, 2], values[i, 3] = a0, a1, a2, a3
        values[other, 0], values[other, 1], values[other, 2], values[other, 3] = (
            (b0, b1, b2, b3) if other > i else (a0, a1, a2, a3)
        )
