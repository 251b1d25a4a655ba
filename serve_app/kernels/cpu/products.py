"""Matrix products of a few rows with stored weights.

They are memory-bound: a narrower weight is a faster one.

PyTorch's products are made for many rows: for the few of a decode step they read memory at half the
speed. Weights [N, K], N a multiple of TILE, are stored as
    float32;
    uint16 or int16: the bits of fp16 or bf16, which numba does not know, computed with in fp32;
    uint8: packed int8 (see packing.py) with one fp32 scale for each output. Rows are quantized to
    8 bits, too, each by its own magnitude.
Every row is computed by itself, in a fixed order: its result depends on no other row.
"""

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import overload
from numpy.typing import NDArray

from serve_app.kernels.cpu.compilation import OPTIONS, PARALLEL, SERIAL, Floats, num_threads
from serve_app.kernels.cpu.float_products import multiply_float
from serve_app.kernels.cpu.int8_products import multiply_int8
from serve_app.kernels.cpu.team import Shared, Team, gather, join

QuantizedWeight = tuple[NDArray[np.uint8], Floats]  # qweight, scales [N]
Weight = NDArray[Any] | QuantizedWeight
NO_SCALES = np.empty(0, np.float32)


def product(x: Floats, weight: Weight, bias: Floats, out: Floats, step: int, add: bool) -> None:
    """Write x [n, K] @ weight.T + bias to every `step`th row of out [n * step, N].

    add: add to the row instead; bias [N], or [0] for none.
    """
    stored, scales = split_weight(weight)
    _product(num_threads(), x, stored, scales, bias, out, step, add)


def split_weight(weight: Weight) -> tuple[NDArray[Any], Floats]:
    """Return a weight's array, and the scales of its outputs: [0] for a float weight."""
    return weight if isinstance(weight, tuple) else (weight, NO_SCALES)


def multiply(
    team: Team, x: Floats, weight: NDArray[Any], scales: Floats, bias: Floats, out: Floats,
    step: int, activate: bool, add: bool,
) -> None:  # fmt: skip
    """`product` inside kernels: one phase of a team.

    activate: apply GELU before writing or adding. x must be complete: see `team.wait`.
    Overload stub: numba selects the kernel by the weight's type at compile time.
    """
    raise NotImplementedError


@overload(multiply, jit_options=OPTIONS, strict=False)  # type: ignore[untyped-decorator]
def _select(
    team: Any, x: Any, weight: Any, scales: Any, bias: Any, out: Any, step: Any,  # noqa: ARG001
    activate: Any, add: Any,  # noqa: ARG001 - their types
) -> Any:  # fmt: skip
    if weight.dtype == types.uint8:
        return lambda team, x, weight, scales, bias, out, step, activate, add: multiply_int8(
            team, x, weight, scales, bias, out, step, activate, add
        )
    return lambda team, x, weight, scales, bias, out, step, activate, add: multiply_float(  # noqa: ARG005
        team, x, weight, bias, out, step, activate, add
    )


@PARALLEL  # type: ignore[untyped-decorator]
def _product(
    threads: int, x: Floats, weight: NDArray[Any], scales: Floats, bias: Floats, out: Floats,
    step: int, add: bool,
) -> None:  # fmt: skip
    shared = gather(threads)
    for _ in numba.prange(threads):
        _join_product(shared, x, weight, scales, bias, out, step, add)


@SERIAL  # type: ignore[untyped-decorator]
def _join_product(
    shared: Shared, x: Floats, weight: NDArray[Any], scales: Floats, bias: Floats, out: Floats,
    step: int, add: bool,
) -> None:  # fmt: skip
    multiply(join(shared), x, weight, scales, bias, out, step, False, add)
