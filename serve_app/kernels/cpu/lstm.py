"""Recurrence of an LSTM layer.

PyTorch's own reads the recurrent weights at half the speed of the CPU's cache.
"""

from typing import Any

import numba
import numpy as np

from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats


@PARALLEL  # type: ignore[untyped-decorator]
def lstm_layer(gates: Floats, weight: Floats, hidden: Floats, cell: Floats, out: Floats) -> None:
    """Run one LSTM layer over n time steps; its weights stay in the CPU's cache.

    gates [n, B, 4 * H]: input projections plus biases, in the order input, forget, cell, output;
    weight [4 * H, H]: recurrent; hidden, cell [B, H]: the state, updated in place; out [n, B, H].
    """
    n, batch, size = out.shape
    for t in range(n):
        for j in numba.prange(size):
            for b in range(batch):
                before = hidden[b] if t == 0 else out[t - 1, b]
                i = gates[t, b, j]
                f = gates[t, b, size + j]
                g = gates[t, b, 2 * size + j]
                o = gates[t, b, 3 * size + j]
                for d in range(size):
                    i += weight[j, d] * before[d]
                    f += weight[size + j, d] * before[d]
                    g += weight[2 * size + j, d] * before[d]
                    o += weight[3 * size + j, d] * before[d]
                cell[b, j] = _sigmoid(f) * cell[b, j] + _sigmoid(i) * np.tanh(g)
                out[t, b, j] = _sigmoid(o) * np.tanh(cell[b, j])
    hidden[:] = out[n - 1]


@SERIAL  # type: ignore[untyped-decorator]
def _sigmoid(x: np.float32) -> Any:
    return np.float32(1) / (np.float32(1) + np.exp(-x))
