"""Compilation of the CPU kernels by numba: options, threading and the array types of their signatures.

Compiled kernels are cached in `__pycache__`, and an entry becomes stale only when the file of the cached function
changes. A function inlined from another module is part of the entry: after a change to such a module (intrinsics,
functions, products, attention, norm, activations), remove `__pycache__`.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",  # no check for zero before each division
    "cache": True,
    "nogil": True,
}
# The engine and the codec call kernels from two threads: of numba's layers, OpenMP (libgomp) allows that.
numba.config.THREADING_LAYER = "threadsafe"
SERIAL = numba.njit(**OPTIONS)
PARALLEL = numba.njit(parallel=True, **OPTIONS)


def limit_threads(count: int) -> None:
    """Run the parallel kernels that this thread calls on at most `count` threads."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
