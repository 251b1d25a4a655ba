"""Products tile by tile, of rows that overlap, against NumPy's."""

import numpy as np
import pytest

from serve_app.kernels.cpu.float_tile import PANEL, TILE_ROWS, multiply_rows, pack_panels

DEPTH, STEP = 21, 7


@pytest.mark.parametrize("rows", [1, 2, TILE_ROWS - 1, TILE_ROWS, 3 * TILE_ROWS - 1])
def test_any_number_of_rows_is_multiplied(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal(STEP * (rows - 1) + DEPTH).astype(np.float32)
    weight = rng.standard_normal((2 * PANEL, DEPTH)).astype(np.float32)
    start = rng.standard_normal((rows, PANEL)).astype(np.float32)
    out = np.full((rows + 1, PANEL), 99, np.float32)
    multiply_rows(
        x, 0, STEP, rows, DEPTH, pack_panels(weight), DEPTH * PANEL,
        start.reshape(-1), 0, PANEL, out.reshape(-1), 0, PANEL,
    )  # fmt: skip
    overlapping = np.lib.stride_tricks.sliding_window_view(x, DEPTH)[::STEP]
    expected = start + overlapping.astype(np.float64) @ weight[PANEL:].T
    np.testing.assert_allclose(out[:rows], expected, rtol=0, atol=1e-5)
    assert (out[rows] == 99).all(), "nothing is written beyond the rows"


def test_a_result_does_not_depend_on_the_tile() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(DEPTH * (2 * TILE_ROWS)).astype(np.float32)
    weight = pack_panels(rng.standard_normal((PANEL, DEPTH)).astype(np.float32))
    zeros = np.zeros(PANEL, np.float32)
    out = np.empty((2, 2 * TILE_ROWS, PANEL), np.float32)
    for results, sizes in zip(out, ([2 * TILE_ROWS], [1] * 2 * TILE_ROWS), strict=True):
        first = 0
        for rows in sizes:
            multiply_rows(
                x, first * DEPTH, DEPTH, rows, DEPTH, weight, 0, zeros, 0, 0,
                results.reshape(-1), first * PANEL, PANEL,
            )  # fmt: skip
            first += rows
    assert np.array_equal(out[0], out[1])
