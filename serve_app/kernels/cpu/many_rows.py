"""Products of many rows with float weights stored for few: see products.py for both.

A panel of the weights is packed, and widened, into the cache and then multiplied by all rows. An
output is one chain of multiply-adds over the inputs in their order: a row's result depends neither
on the other rows nor on their number.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats
from serve_app.kernels.cpu.float_tile import PANEL, multiply_rows
from serve_app.kernels.cpu.float_vectors import LANES
from serve_app.kernels.cpu.intrinsics import widen
from serve_app.kernels.cpu.transpose import transpose_block

_DEPTH = 1024  # inputs of a packed part: 128 KB, a part of the L2 cache
_PADDING = 16  # between rows: those a multiple of a page apart contend for the sets of a cache


@PARALLEL  # type: ignore[untyped-decorator]
def product_of_many(x: Floats, weight: NDArray[Any], bias: Floats, out: Floats) -> None:
    """Write x [n, K] @ weight.T + bias to out [n, N].

    weight [N, K]: fp32, or the bits of fp16 or bf16 as uint16 or int16; bias [N], or [0] for none.
    """
    n, size = x.shape
    outputs = len(weight)
    padded = np.empty((n, size + _PADDING), np.float32)
    padded[:, :size] = x
    rows = padded.reshape(-1)
    flat = out.reshape(-1)
    for panel in numba.prange(-(-outputs // PANEL)):
        first = panel * PANEL
        count = min(PANEL, outputs - first)
        start = np.zeros(PANEL, np.float32)
        if len(bias):
            start[:count] = bias[first : first + count]
        into = flat
        into_at = first
        into_step = outputs
        if count < PANEL:  # the last panel
            into = np.empty(n * PANEL, np.float32)
            into_at = 0
            into_step = PANEL
        _multiply_panel(rows, n, size, weight, first, start, into, into_at, into_step)
        if count < PANEL:
            out[:, first:] = into.reshape((n, PANEL))[:, :count]


@SERIAL  # type: ignore[untyped-decorator]
def _multiply_panel(
    x: Floats, n: int, size: int, weight: NDArray[Any], first: int, start: Floats,
    out: Floats, out_at: int, out_step: int,
) -> None:  # fmt: skip
    """Multiply n rows x, _PADDING apart, by PANEL outputs, _DEPTH inputs at a time."""
    packed = np.empty(min(size, _DEPTH) * PANEL, np.float32)
    before = start
    before_at = before_step = 0
    for begin in range(0, size, _DEPTH):
        depth = min(_DEPTH, size - begin)
        _pack(weight[first : first + PANEL], begin, depth, packed)
        multiply_rows(
            x, begin, size + _PADDING, n, depth, packed, 0, before, before_at, before_step,
            out, out_at, out_step,
        )  # fmt: skip
        before = out
        before_at = out_at
        before_step = out_step


@SERIAL  # type: ignore[untyped-decorator]
def _pack(weight: NDArray[Any], begin: int, depth: int, packed: Floats) -> None:
    """Transpose `depth` inputs of up to PANEL outputs: weight [<= PANEL, K] -> [depth, PANEL].

    Outputs that are not there are zeros.
    """
    outputs = len(weight)
    if outputs < PANEL:
        packed[:] = 0
    for d in range(0, depth, LANES):
        for j in range(0, outputs, LANES):
            at = d * PANEL + j
            if d + LANES <= depth and j + LANES <= outputs:
                transpose_block(weight, j, begin + d, packed, at, PANEL)
                continue
            for row in range(j, min(j + LANES, outputs)):
                for column in range(d, min(d + LANES, depth)):
                    packed[column * PANEL + row] = widen(weight[row, begin + column])
