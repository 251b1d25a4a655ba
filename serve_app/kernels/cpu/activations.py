"""Activation functions."""

import numba
import numpy as np

from serve_app.kernels.cpu.compilation import PARALLEL, Floats
from serve_app.kernels.cpu.functions import erf

_PARTS = 16  # of the columns, for threads to share


@PARALLEL  # type: ignore[untyped-decorator]
def gelu(x: Floats) -> None:
    """Apply the exact (erf) GELU (arXiv:1606.08415) to x [n, D] in place."""
    n, size = x.shape
    for part in numba.prange(_PARTS):
        for i in range(n):
            columns = x[i, part * size // _PARTS : (part + 1) * size // _PARTS]
            for d in range(len(columns)):
                columns[d] *= np.float32(0.5) * (
                    np.float32(1) + erf(columns[d] * np.float32(0.5**0.5))
                )
