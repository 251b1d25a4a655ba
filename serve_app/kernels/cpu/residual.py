"""SEANet's residual block, on frames [n, C] in memory frame by frame: see convolution.py.

ELU, convolution to M channels, ELU, 1 x 1 convolution, plus the input.
"""

import numba
import numpy as np

from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats
from serve_app.kernels.cpu.convolution import PADDING, block_rows, gather_frames
from serve_app.kernels.cpu.elu import elu
from serve_app.kernels.cpu.float_tile import PANEL, multiply_rows

_TAPS = 3  # of the convolution by fewer products
_PRODUCTS = 4  # for two of its outputs


@PARALLEL  # type: ignore[untyped-decorator]
def residual_block(
    x: Floats, kernel: int, before: int, mirrored: int, first_weight: Floats, first_bias: Floats,
    second_weight: Floats, second_bias: Floats, out: Floats,
) -> None:  # fmt: skip
    """SEANet's residual block on x [n, C]: ELU, convolution to M channels, ELU, 1 x 1, plus x.

    first_weight: [M, kernel * C] and second_weight: [C, M] in panels.
    """
    n, size = x.shape
    middle = len(first_bias)
    depth = kernel * size
    rows = block_rows(size)
    for block in numba.prange((n + rows - 1) // rows):
        first = block * rows
        count = min(rows, n - first)
        gathered = np.empty((count + kernel - 1) * size, np.float32)
        gather_frames(x, first - before, count + kernel - 1, mirrored, True, gathered, size)
        narrow = np.empty(count * middle, np.float32)
        for panel in range(middle // PANEL):
            multiply_rows(
                gathered, 0, size, count, depth, first_weight, panel * depth * PANEL,
                first_bias, panel * PANEL, 0, narrow, panel * PANEL, middle,
            )  # fmt: skip
        _finish(x, first, count, narrow, second_weight, second_bias, out)


@PARALLEL  # type: ignore[untyped-decorator]
def residual_block_of_three(
    x: Floats, before: int, mirrored: int, first_weight: Floats, first_bias: Floats,
    second_weight: Floats, second_bias: Floats, out: Floats,
) -> None:  # fmt: skip
    """Compute the block with a kernel of 3: two outputs take four products in place of six.

    This is F(2, 3) of "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308).
    first_weight: of `transform_taps`; second_weight: [C, M] in panels.
    """
    n, size = x.shape
    middle = len(first_bias)
    rows = block_rows(2 * size) // 2 * 2
    for block in numba.prange((n + rows - 1) // rows):
        first = block * rows
        count = min(rows, n - first)
        pairs = (count + 1) // 2
        gathered = np.empty((2 * pairs + _TAPS - 1) * size, np.float32)
        gather_frames(x, first - before, 2 * pairs + _TAPS - 1, mirrored, True, gathered, size)
        inputs = _transform_frames(gathered, pairs, size)
        narrow = np.empty(2 * pairs * middle, np.float32)
        for panel in range(middle // PANEL):
            _convolve_pairs(inputs, pairs, size, first_weight, first_bias, panel, narrow)
        _finish(x, first, count, narrow, second_weight, second_bias, out)


@SERIAL  # type: ignore[untyped-decorator]
def _convolve_pairs(
    inputs: Floats, pairs: int, size: int, weight: Floats, bias: Floats, panel: int, out: Floats
) -> None:
    """Compute one panel of all pairs of outputs, out [2 * pairs, M], flat."""
    middle = len(bias)
    step = size + PADDING
    place = pairs * step  # numbers of one input
    matrix = size * middle  # numbers of one weight
    at = panel * size * PANEL
    column = panel * PANEL
    sums = np.zeros((2, pairs * PANEL), np.float32)
    for i in range(pairs):
        sums[0, i * PANEL : (i + 1) * PANEL] = bias[column : column + PANEL]
    for number in range(_PRODUCTS):
        if number == 2:
            _add_and_subtract(sums, out, column, middle)
        shared = number < 2
        into = sums[number] if shared else out
        into_at = 0 if shared else column + (number - 2) * middle
        into_step = PANEL if shared else 2 * middle
        multiply_rows(
            inputs, number * place, step, pairs, size, weight, number * matrix + at,
            into, into_at, into_step, into, into_at, into_step,
        )  # fmt: skip


@SERIAL  # type: ignore[untyped-decorator]
def _add_and_subtract(sums: Floats, out: Floats, column: int, middle: int) -> None:
    """Begin each pair of outputs with the sum and the difference of the products of both."""
    for i in range(sums.shape[1] // PANEL):
        even = 2 * i * middle + column
        odd = even + middle
        for j in range(PANEL):
            a = sums[0, i * PANEL + j]
            b = sums[1, i * PANEL + j]
            out[even + j] = a + b
            out[odd + j] = a - b


@SERIAL  # type: ignore[untyped-decorator]
def _transform_frames(frames: Floats, pairs: int, size: int) -> Floats:
    """Sums and differences of the four frames of each pair of outputs.

    They are frame 1 plus 2, 2 minus 1, 0 minus 2, and 3 minus 1.
    frames [2 * pairs + 2, C], flat -> [4, pairs, C + PADDING], flat
    """
    step = size + PADDING
    out = np.empty(_PRODUCTS * pairs * step, np.float32)
    place = pairs * step
    for i in range(pairs):
        at = i * step
        d0 = frames[2 * i * size : (2 * i + 1) * size]
        d1 = frames[(2 * i + 1) * size : (2 * i + 2) * size]
        d2 = frames[(2 * i + 2) * size : (2 * i + 3) * size]
        d3 = frames[(2 * i + 3) * size : (2 * i + 4) * size]
        both = out[at : at + size]
        turned = out[place + at : place + at + size]
        even = out[2 * place + at : 2 * place + at + size]
        odd = out[3 * place + at : 3 * place + at + size]
        for d in range(size):
            both[d] = d1[d] + d2[d]
            turned[d] = d2[d] - d1[d]
            even[d] = d0[d] - d2[d]
            odd[d] = d3[d] - d1[d]
    return out


def transform_taps(weight: Floats) -> Floats:
    """weight [M, C, 3] -> [4, M, C], one for each input of `_transform_frames`."""
    first, second, third = np.moveaxis(weight, 2, 0)
    half = np.float32(0.5)
    added = (first + second + third) * half
    subtracted = (first - second + third) * half
    return np.stack([added, subtracted, first, third])


@SERIAL  # type: ignore[untyped-decorator]
def _finish(
    x: Floats, first: int, count: int, narrow: Floats, weight: Floats, bias: Floats, out: Floats
) -> None:
    """Apply ELU to narrow [>= count, M], flat; multiply; add the input and the bias."""
    size = x.shape[1]
    flat = out.reshape(-1)
    middle = len(weight) // size
    for i in range(count * middle):
        narrow[i] = elu(narrow[i])
    for i in range(first, first + count):
        for d in range(size):
            out[i, d] = x[i, d] + bias[d]
    for panel in range(size // PANEL):
        at = first * size + panel * PANEL
        multiply_rows(
            narrow, 0, middle, count, middle, weight, panel * middle * PANEL,
            flat, at, size, flat, at, size,
        )  # fmt: skip
