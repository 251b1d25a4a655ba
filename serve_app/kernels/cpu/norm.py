"""Layer normalization."""

import numpy as np

from serve_app.kernels.cpu.compilation import SERIAL, Floats


@SERIAL  # type: ignore[untyped-decorator]
def layer_norm(x: Floats, step: int, weight: Floats, bias: Floats, eps: float, out: Floats) -> None:
    """Normalize every `step`th row of x [n * step, D] into out [n, D]; weight, bias [D]."""
    size = np.float32(x.shape[1])
    for i in range(len(out)):
        row = x[i * step]
        into = out[i]
        mean = variance = np.float32(0)
        for d in range(len(row)):
            mean += row[d]
        mean /= size
        for d in range(len(row)):
            variance += (row[d] - mean) * (row[d] - mean)
        inverse = np.float32(1) / np.sqrt(variance / size + np.float32(eps))
        for d in range(len(row)):
            into[d] = (row[d] - mean) * inverse * weight[d] + bias[d]
