"""One decoder layer in one call.

Between its products a layer has many short operations: called one by one, they take as long as the
products do.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.kernels.cpu.activations import gelu
from serve_app.kernels.cpu.attention import attend, cross_attend
from serve_app.kernels.cpu.compilation import SERIAL, Floats, Indices
from serve_app.kernels.cpu.norm import layer_norm
from serve_app.kernels.cpu.products import multiply


@SERIAL  # type: ignore[untyped-decorator]
def layer_step(
    x: Floats, rows: int, heads: int, ffn_dim: int, norms: Any, eps: float, weights: Any,
    biases: Any, slots: Indices, positions: Indices, cache: NDArray[Any], scales: Floats,
    first_slot: int, keys: Floats, values: Floats, mask: Floats, without_text: Floats,
) -> None:  # fmt: skip
    """Run a pre-norm decoder layer on x [n * rows, D] in place.

    norms: weight and bias of each of the three norms; weights, biases: of qkv, out,
    cross-attention's q and out, fc1 and fc2 (see `products`); without_text [D], or [0] for zeros:
    cross-attention's output for every row but the first.
    The other arguments are those of `attend` and `cross_attend`.
    """
    n, size = x.shape
    new = n // rows
    y = np.empty((n, size), np.float32)
    qkv = np.empty((n, 3 * size), np.float32)
    layer_norm(x, 1, norms[0], norms[1], eps, y)
    multiply(y, weights[0], biases[0], qkv, 1, False)
    shape = (new, rows, heads, size // heads)
    by_head = qkv.reshape((new, rows, 3, heads, size // heads))
    attend(by_head, slots, positions, cache, scales, first_slot, y.reshape(shape))
    multiply(y, weights[1], biases[1], x, 1, True)

    y = np.empty((new, size), np.float32)
    query = np.empty((new, size), np.float32)
    layer_norm(x, rows, norms[2], norms[3], eps, y)
    multiply(y, weights[2], biases[2], query, 1, False)
    shape_text = (new, heads, size // heads)
    cross_attend(query.reshape(shape_text), keys, values, mask, y.reshape(shape_text))
    multiply(y, weights[3], biases[3], x, rows, True)
    if len(without_text):
        for i in range(n):
            if i % rows:
                x[i] += without_text

    y = np.empty((n, size), np.float32)
    wide = np.empty((n, ffn_dim), np.float32)
    layer_norm(x, 1, norms[4], norms[5], eps, y)
    multiply(y, weights[4], biases[4], wide, 1, False)
    gelu(wide)
    multiply(wide, weights[5], biases[5], x, 1, True)
