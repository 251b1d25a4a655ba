"""Vectorizable exp and erf against the library's, over their whole range."""

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from serve_app.kernels.cpu.functions import erf, exp


@numba.njit  # type: ignore[untyped-decorator]
def evaluate(x: NDArray[np.float32]) -> tuple[list[float], list[float]]:
    return [exp(-abs(value)) for value in x], [erf(value) for value in x]


def test_functions_equal_the_librarys() -> None:
    special = [0, 86.9, -100, np.inf, -np.inf, np.nan]
    x = np.concatenate([np.linspace(-9, 9, 10_001), special]).astype(np.float32)
    of_exp, of_erf = evaluate(x)
    np.testing.assert_allclose(of_exp, np.exp(-np.abs(x.astype(np.float64))), rtol=5e-7, atol=1e-37)
    np.testing.assert_allclose(of_erf, torch.erf(torch.from_numpy(x)), rtol=0, atol=5e-7)
