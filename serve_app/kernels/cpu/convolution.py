"""Convolutions over time of the codec, in fp32, on frames [n, C] in memory frame by frame.

The inputs of an output are neighbours in memory, so that a convolution is a matrix product whose
rows overlap: nothing is copied but one block of frames, on which padding and ELU are applied.
"""

import numba
import numpy as np

from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats
from serve_app.kernels.cpu.elu import elu
from serve_app.kernels.cpu.float_tile import PANEL, TILE_ROWS, multiply_rows

_BLOCK_FLOATS = 2**16  # of a block's input: a quarter of a megabyte, which stays in the L2 cache
_BLOCK_ROWS = 40 * TILE_ROWS
_MIN_TASKS = 8
PADDING = 16  # between rows: those a multiple of a page apart contend for the sets of the L1 cache


@SERIAL  # type: ignore[untyped-decorator]
def _source(i: int, n: int, mirrored: int) -> int:
    """Frame that stands at `i` of the padded frames, -1 for zeros.

    mirrored: the number of frames, extended by zeros, that padding mirrors; 0: it is zeros.
    """
    if mirrored:
        if i < 0:
            i = -i
        if i >= mirrored:
            i = 2 * (mirrored - 1) - i
    return i if 0 <= i < n else -1


@SERIAL  # type: ignore[untyped-decorator]
def gather_frames(
    x: Floats, first: int, count: int, mirrored: int, activate: bool, out: Floats, step: int
) -> None:
    """Copy `count` padded frames from `first` on to out, flat, one each `step` numbers.

    activate: apply ELU to them.
    """
    n, size = x.shape
    for i in range(count):
        source = _source(first + i, n, mirrored)
        row = out[i * step : i * step + size]
        if source < 0:
            row[:] = np.float32(0)
        elif activate:
            frame = x[source]
            for d in range(size):
                row[d] = elu(frame[d])
        else:
            row[:] = x[source]


@SERIAL  # type: ignore[untyped-decorator]
def block_rows(frame_floats: int) -> int:
    """Rows of a block: whole tiles, as many as the cache holds."""
    rows = min(_BLOCK_FLOATS // frame_floats, _BLOCK_ROWS)
    return max(rows // TILE_ROWS, 2) * TILE_ROWS


@PARALLEL  # type: ignore[untyped-decorator]
def convolve(
    x: Floats, kernel: int, stride: int, before: int, mirrored: int, activate: bool,
    weight: Floats, bias: Floats, out: Floats,
) -> None:  # fmt: skip
    """Convolve x [n, C] to out [m, N].

    Output i reads the `kernel` padded frames from i * stride - before on. activate: apply ELU to x
    first; mirrored: see `_source`; weight: [N, kernel * C] in panels; bias [N].
    """
    size = x.shape[1]
    m, outputs = out.shape
    panels = outputs // PANEL
    depth = kernel * size
    flat = out.reshape(-1)
    step = size + PADDING if kernel == 1 else size  # longer kernels need frames side by side
    rows = block_rows(stride * size)
    blocks = (m + rows - 1) // rows
    groups = min(max(1, _MIN_TASKS // blocks), panels)
    for task in numba.prange(blocks * groups):
        block = task // groups
        group = task % groups
        first = block * rows
        count = min(rows, m - first)
        frames = (count - 1) * stride + kernel
        gathered = np.empty(frames * step, np.float32)
        gather_frames(x, first * stride - before, frames, mirrored, activate, gathered, step)
        for panel in range(group * panels // groups, (group + 1) * panels // groups):
            multiply_rows(
                gathered, 0, stride * step, count, depth, weight, panel * depth * PANEL,
                bias, panel * PANEL, 0, flat, first * outputs + panel * PANEL, outputs,
            )  # fmt: skip


@PARALLEL  # type: ignore[untyped-decorator]
def convolve_to_few(
    x: Floats, kernel: int, before: int, mirrored: int, activate: bool, weight: Floats,
    bias: Floats, out: Floats,
) -> None:  # fmt: skip
    """Convolve x [n, C] to out [n, N] of few outputs: weight [N, kernel * C], bias [N]."""
    size = x.shape[1]
    n, outputs = out.shape
    depth = kernel * size
    rows = block_rows(size)
    for block in numba.prange((n + rows - 1) // rows):
        first = block * rows
        count = min(rows, n - first)
        gathered = np.empty((count + kernel - 1) * size, np.float32)
        gather_frames(x, first - before, count + kernel - 1, mirrored, activate, gathered, size)
        for i in range(count):
            row = gathered[i * size : i * size + depth]
            for j in range(outputs):
                total = np.float32(0)
                for d in range(depth):
                    total += row[d] * weight[j, d]
                out[first + i, j] = total + bias[j]


@PARALLEL  # type: ignore[untyped-decorator]
def upsample(
    x: Floats, activate: bool, both: Floats, before: Floats, at: Floats, bias: Floats, out: Floats
) -> None:
    """Multiply frames and those before them: out[i] = x[i] @ at + x[i - 1] @ before + bias.

    x [n, C], zero outside; out [m, N], m even; activate: apply ELU to x first; before, at, both
    (their sum): [N, C] in panels; bias [N]. Two outputs take three products in place of four, as in
    Winograd's F(2, 2) (Arithmetic Complexity of Computations, 1980): with y = x[i] @ both, they are
    y + (x[i - 1] - x[i]) @ before and y + (x[i + 1] - x[i]) @ at.
    """
    size = x.shape[1]
    m, outputs = out.shape
    panels = outputs // PANEL
    flat = out.reshape(-1)
    pairs = m // 2
    blocks = (pairs + block_rows(size) - 1) // block_rows(size)
    groups = min(max(1, _MIN_TASKS // blocks), panels)
    for task in numba.prange(blocks * groups):
        group = task % groups
        block = task // groups
        first = pairs * block // blocks
        count = pairs * (block + 1) // blocks - first
        frames = np.empty((2 * count + 1) * size, np.float32)
        gather_frames(x, 2 * first - 1, 2 * count + 1, 0, activate, frames, size)
        middle, inputs = _transform(frames, count, size)
        step = size + PADDING
        shared = np.empty(count * PANEL, np.float32)
        for panel in range(group * panels // groups, (group + 1) * panels // groups):
            weight_at = panel * size * PANEL
            out_at = 2 * first * outputs + panel * PANEL
            multiply_rows(
                middle, 0, step, count, size, both, weight_at,
                bias, panel * PANEL, 0, shared, 0, PANEL,
            )  # fmt: skip
            multiply_rows(
                inputs, 0, 2 * step, count, size, before, weight_at,
                shared, 0, PANEL, flat, out_at, 2 * outputs,
            )  # fmt: skip
            multiply_rows(
                inputs, step, 2 * step, count, size, at, weight_at,
                shared, 0, PANEL, flat, out_at + outputs, 2 * outputs,
            )  # fmt: skip


@SERIAL  # type: ignore[untyped-decorator]
def _transform(frames: Floats, count: int, size: int) -> tuple[Floats, Floats]:
    """Every second frame, and the frames before and after it minus it, all PADDING apart.

    frames [2 * count + 1, C], flat; the results are flat, too.
    """
    step = size + PADDING
    middle = np.empty(count * step, np.float32)
    differences = np.empty(2 * count * step, np.float32)
    for i in range(count):
        frame = frames[(2 * i + 1) * size : (2 * i + 2) * size]
        middle[i * step : i * step + size] = frame
        for side in range(2):
            other = frames[(2 * i + 2 * side) * size : (2 * i + 2 * side + 1) * size]
            row = differences[(2 * i + side) * step : (2 * i + side) * step + size]
            for d in range(size):
                row[d] = other[d] - frame[d]
    return middle, differences
