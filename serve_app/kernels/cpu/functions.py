"""Scalar exp and erf that LLVM vectorizes inside loops; the calls to libm are scalar."""

from typing import Any

import numpy as np

from serve_app.kernels.cpu.compilation import SERIAL
from serve_app.kernels.cpu.intrinsics import from_bits


@SERIAL  # type: ignore[untyped-decorator]
def exp(x: np.float32) -> Any:
    """Exponential of x <= 0, to a relative error of 5e-7; 0 below -87.

    Cody-Waite range reduction, then the Taylor series to degree 6.
    """
    n = np.rint(max(x, np.float32(-88)) * np.float32(1.4426950408889634))
    # log 2 is subtracted in two parts, so that the first product is exact.
    r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    series = np.float32(1 / 720)
    series = series * r + np.float32(1 / 120)
    series = series * r + np.float32(1 / 24)
    series = series * r + np.float32(1 / 6)
    series = series * r + np.float32(1 / 2)
    series = series * r + np.float32(1)
    series = series * r + np.float32(1)
    power = from_bits((np.int32(n) + np.int32(127)) << np.int32(23))
    return np.float32(0) if x < np.float32(-87) else series * power


@SERIAL  # type: ignore[untyped-decorator]
def erf(x: np.float32) -> Any:
    """Error function, to an absolute error of 5e-7.

    Formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical Functions.
    """
    positive = abs(x)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * positive)
    series = np.float32(1.061405429)
    series = series * t + np.float32(-1.453152027)
    series = series * t + np.float32(1.421413741)
    series = series * t + np.float32(-0.284496736)
    series = series * t + np.float32(0.254829592)
    return np.copysign(np.float32(1) - series * t * exp(-positive * positive), x)
