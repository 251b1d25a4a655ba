"""Recurrence of an LSTM layer.

The recurrent weights are read once a time step, from the L3 cache: its bandwidth is the limit. They
are packed in the order of reading, one stream a thread, because the rows of the four gates lie a
multiple of a page apart and would contend for the same sets of the L1 cache.
"""

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from serve_app.kernels.cpu.atomics import fetch_add
from serve_app.kernels.cpu.compilation import PARALLEL, SERIAL, Floats, Indices
from serve_app.kernels.cpu.elu import elu
from serve_app.kernels.cpu.float_vectors import (
    LANES,
    VECTOR,
    Loop,
    element,
    int64,
    load,
    multiply_add,
    reduce_add,
)
from serve_app.kernels.cpu.team import wait_until

_GATES = 4
_PARTS = 16  # of the units, for threads to share


def pack_gates(weight: Floats) -> Floats:
    """weight [4 * H, H] -> [H, H / LANES, 4, LANES], flat: the gates of a unit side by side.

    Raises ValueError unless H is a multiple of LANES.
    """
    size = weight.shape[1]
    if size % LANES:
        raise ValueError(f"an LSTM of {size} units: the kernel needs a multiple of {LANES}")
    by_gate = weight.reshape(_GATES, size, size // LANES, LANES)
    return np.ascontiguousarray(by_gate.transpose(1, 2, 0, 3)).reshape(-1)


@PARALLEL  # type: ignore[untyped-decorator]
def lstm_layer(
    threads: int, gates: Floats, weight: Floats, hidden: Floats, cell: Floats, out: Floats
) -> None:
    """Run one LSTM layer over n time steps; its weights stay in the CPU's caches.

    gates [n, B, 4 * H]: input projections plus biases, in the order input, forget, cell, output;
    weight: recurrent, of `pack_gates`; hidden, cell [B, H]: the state, updated in place;
    out [n, B, H].
    """
    n = len(out)
    claims = np.zeros(n * _PARTS, np.int64)
    done = np.zeros(1, np.int64)
    for thread in numba.prange(threads):
        first = thread * _PARTS // threads
        last = (thread + 1) * _PARTS // threads
        _join(claims, done, first, last, gates, weight, hidden, cell, out)
    hidden[:] = out[n - 1]


@SERIAL  # type: ignore[untyped-decorator]
def _join(
    claims: Indices, done: Indices, first: int, last: int, gates: Floats, weight: Floats,
    hidden: Floats, cell: Floats, out: Floats,
) -> None:  # fmt: skip
    """Run the time steps as one thread, whose own parts are `first` to `last`.

    A thread then takes parts of others that are late. It waits only for parts that others work at:
    any number of threads finishes. Own parts are taken forwards and backwards in turn: a step
    begins with the weights that are still in the L2 cache.
    """
    for t in range(len(out)):
        wait_until(done, 0, t * _PARTS)
        for number in range(_PARTS):
            part = (first + number) % _PARTS
            if t % 2 and number < last - first:
                part = last - 1 - number
            if fetch_add(claims, t * _PARTS + part, 1) == 0:
                _advance(t, part, gates, weight, hidden, cell, out)
                fetch_add(done, 0, 1)


@SERIAL  # type: ignore[untyped-decorator]
def _advance(
    t: int, part: int, gates: Floats, weight: Floats, hidden: Floats, cell: Floats, out: Floats
) -> None:
    """Compute time step t of one part of the units."""
    _, batch, size = out.shape
    first = part * size // _PARTS
    last = (part + 1) * size // _PARTS
    sums = np.empty((_GATES, last - first), np.float32)
    for b in range(batch):
        before = hidden[b] if t == 0 else out[t - 1, b]
        for j in range(first, last):
            products = _dot_gates(weight, _GATES * j * size, before, 0, size)
            for gate in range(_GATES):
                sums[gate, j - first] = gates[t, b, gate * size + j] + products[gate]
        _update(sums, cell[b, first:last], out[t, b, first:last])


@SERIAL  # type: ignore[untyped-decorator]
def _update(sums: Floats, cell: Floats, out: Floats) -> None:
    """Compute the next state of some units from the sums of their gates [4, units]."""
    for j in range(len(cell)):
        kept = _sigmoid(sums[1, j]) * cell[j]
        cell[j] = kept + _sigmoid(sums[0, j]) * _tanh(sums[2, j])
        out[j] = _sigmoid(sums[3, j]) * _tanh(cell[j])


@SERIAL  # type: ignore[untyped-decorator]
def _sigmoid(x: np.float32) -> Any:
    less = elu(-abs(x))  # exp(-|x|) - 1
    return (np.float32(1) if x > 0 else less + np.float32(1)) / (less + np.float32(2))


@SERIAL  # type: ignore[untyped-decorator]
def _tanh(x: np.float32) -> Any:
    less = elu(np.float32(-2) * abs(x))  # exp(-2 |x|) - 1
    return np.copysign(less / (less + np.float32(2)), x)


@intrinsic  # type: ignore[untyped-decorator]
def _dot_gates(
    _: Any, weight: Any, weight_at: Any, x: Any, x_at: Any, depth: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Dot products of x, flat, with the rows of a unit's four gates -> 4 floats."""
    sums = types.UniTuple(types.float32, _GATES)  # type: ignore[attr-defined]
    return sums(weight, types.intp, x, types.intp, types.intp), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the loop, with one vector of sums for each gate."""
    weight = element(context, builder, signature, arguments, 0)
    x = element(context, builder, signature, arguments, 2)
    zero = VECTOR(None)
    loop = Loop(builder, arguments[4], LANES, [zero] * _GATES)
    inputs = load(builder, builder.gep(x, [loop.index]), 0)
    column = builder.gep(weight, [builder.mul(loop.index, int64(_GATES))])
    after = [
        multiply_add(builder, inputs, load(builder, column, gate * LANES), total)
        for gate, total in enumerate(loop.carried)
    ]
    sums = [reduce_add(builder, total) for total in loop.close(after)]
    return context.make_tuple(builder, signature.return_type, sums)
