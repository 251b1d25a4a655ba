"""ELU (arXiv:1511.07289) of a scalar, which LLVM vectorizes inside loops."""

from typing import Any

import numpy as np

from serve_app.kernels.cpu.compilation import SERIAL
from serve_app.kernels.cpu.intrinsics import from_bits


@SERIAL  # type: ignore[untyped-decorator]
def elu(x: np.float32) -> Any:
    """x if x > 0, else exp(x) - 1 to an absolute error of 1e-7.

    Cody-Waite range reduction, then the Taylor series of exp(r) - 1 to degree 7: near zero, the
    error is relative.
    """
    negative = max(min(x, np.float32(0)), np.float32(-87))
    n = np.rint(negative * np.float32(1.4426950408889634))
    # log 2 is subtracted in two parts, so that the first product is exact.
    r = (negative - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    series = np.float32(1 / 5040)
    series = series * r + np.float32(1 / 720)
    series = series * r + np.float32(1 / 120)
    series = series * r + np.float32(1 / 24)
    series = series * r + np.float32(1 / 6)
    series = series * r + np.float32(1 / 2)
    series = series * r * r + r
    power = from_bits((np.int32(n) + np.int32(127)) << np.int32(23))
    return max(x, np.float32(0)) + (power * series + (power - np.float32(1)))
