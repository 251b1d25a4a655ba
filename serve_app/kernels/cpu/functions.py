"""How kernels are compiled, and functions that loops in them do in vectors: the processor's library has them for single
numbers alone."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.intrinsics import from_bits

Floats = NDArray[np.float32]

OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",  # a division by zero is no exception, for which every division would be looked at
    "cache": True,
    "nogil": True,
}
numba.config.THREADING_LAYER = (
    "threadsafe"  # the codec's thread calls while the engine's does: OpenMP, by libgomp
)
SERIAL, PARALLEL = numba.njit(**OPTIONS), numba.njit(parallel=True, **OPTIONS)


@SERIAL  # type: ignore[untyped-decorator]
def exp(x: np.float32) -> Any:
    """The exponential of a number that is not positive, for loops to do in vectors; to 5e-7 of it; 0 below -87."""
    n = np.rint(max(x, np.float32(-88)) * np.float32(1.4426950408889634))
    r = (x - n * np.float32(0.693359375)) + n * np.float32(
        2.12194440e-4
    )  # log 2 in two parts: the first is exact
    series = np.float32(1 / 720)
    series = series * r + np.float32(1 / 120)
    series = series * r + np.float32(1 / 24)
    series = series * r + np.float32(1 / 6)
    series = series * r + np.float32(1 / 2)
    series = series * r + np.float32(1)
    series = series * r + np.float32(1)
    return (
        np.float32(0)
        if x < np.float32(-87)
        else series * from_bits((np.int32(n) + np.int32(127)) << np.int32(23))
    )


@SERIAL  # type: ignore[untyped-decorator]
def erf(x: np.float32) -> Any:
    """The error function, to 5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26)."""
    positive = abs(x)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * positive)
    series = np.float32(1.061405429)
    series = series * t + np.float32(-1.453152027)
    series = series * t + np.float32(1.421413741)
    series = series * t + np.float32(-0.284496736)
    series = series * t + np.float32(0.254829592)
    return np.copysign(np.float32(1) - series * t * exp(-positive * positive), x)
