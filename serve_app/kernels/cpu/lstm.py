"""The recurrence of an LSTM on a CPU, compiled by numba: PyTorch's reads its weights at half the speed of the cache."""

from typing import Any

import numba
import numpy as np

from serve_app.kernels.cpu.functions import PARALLEL, SERIAL, Floats


@PARALLEL  # type: ignore[untyped-decorator]
def lstm_layer(gates: Floats, weight: Floats, hidden: Floats, cell: Floats, out: Floats) -> None:
    """An LSTM's layer over time. gates [n, B, 4 * H]: what its inputs give, and the biases; weight [4 * H, H]: of what
    came before; hidden, cell [B, H]: the state, changed in place; out [n, B, H]. Its weights stay in the CPU's cache.
    """
    n, batch, size = out.shape
    for t in range(n):
        for j in numba.prange(size):
            for b in range(batch):
                before = hidden[b] if t == 0 else out[t - 1, b]
                i, f, g, o = (
                    gates[t, b, j],
                    gates[t, b, size + j],
                    gates[t, b, 2 * size + j],
                    gates[t, b, 3 * size + j],
                )
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
