"""Activation functions."""

from typing import Any

import numpy as np

from serve_app.kernels.cpu.compilation import SERIAL
from serve_app.kernels.cpu.functions import erf


@SERIAL  # type: ignore[untyped-decorator]
def gelu(x: np.float32) -> Any:
    """The exact (erf) GELU (arXiv:1606.08415)."""
    return x * np.float32(0.5) * (np.float32(1) + erf(x * np.float32(0.5**0.5)))
