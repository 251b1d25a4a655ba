"""Compilation of the CPU kernels by numba: options, threading, array types of their signatures.

Compiled kernels are cached on disk: see `compile_cache`.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.compile_cache import stamp_kernels

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",  # no check for zero before each division
    "cache": True,
    "nogil": True,
}
# The engine and the codec call kernels from two threads. OpenMP (libgomp) allows that.
numba.config.THREADING_LAYER = "threadsafe"
stamp_kernels()
SERIAL = numba.njit(**OPTIONS)
PARALLEL = numba.njit(parallel=True, **OPTIONS)


def num_threads() -> int:
    """Return the number of threads on which this thread's kernels run.

    It is an argument of the kernels: numba does not cache a kernel that asks for it.
    """
    return int(numba.get_num_threads())


def limit_threads(count: int) -> None:
    """Run the parallel kernels that this thread calls on at most `count` threads."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
