"""Transposition of blocks of LANES by LANES stored weights, in registers."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from serve_app.kernels.cpu.float_vectors import LANES, VECTOR, store
from serve_app.kernels.cpu.vectors import INT16, INT32, constants, element, int64, load

_WORDS = ir.VectorType(INT32, LANES)


@intrinsic  # type: ignore[untyped-decorator]
def transpose_block(
    _: Any, weight: Any, row: Any, column: Any, out: Any, at: Any, step: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Write the LANES columns of weight[row : row + LANES] from `column` on, as fp32, as rows.

    weight [N, K]: fp32, or the bits of fp16 or bf16 as uint16 or int16; row i of out, flat, is from
    at + i * step on.
    """
    index = types.intp
    return types.void(weight, index, index, out, index, index), _generate


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind, out_type = signature.args[0], signature.args[3]
    weight, row, column, out, at, step = arguments
    vectors = []
    for number in range(LANES):
        place = builder.add(row, int64(number))
        start = element(context, builder, kind, weight, place, column)
        vectors.append(_load_wide(builder, start, kind))
    for number, vector in enumerate(_transpose(builder, vectors)):
        place = builder.add(at, builder.mul(step, int64(number)))
        store(builder, vector, element(context, builder, out_type, out, place), 0)
    return context.get_dummy_value()


def _load_wide(builder: Any, start: Any, kind: Any) -> Any:
    """Load LANES stored weights as fp32."""
    if kind.dtype == types.float32:
        return load(builder, start, LANES, ir.FloatType(), 4)
    bits = load(builder, start, LANES, INT16, 2)
    if kind.dtype == types.uint16:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), LANES)), VECTOR)
    high = builder.shl(builder.zext(bits, _WORDS), constants(16, INT32, LANES))
    return builder.bitcast(high, VECTOR)


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Interleave vectors half of the list apart, as often as it can be halved."""
    for _ in range(LANES.bit_length() - 1):
        pairs = zip(rows[: LANES // 2], rows[LANES // 2 :], strict=True)
        rows = [half for a, b in pairs for half in _interleave(builder, a, b)]
    return rows


def _interleave(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Alternate lanes of a and b: of their first halves, then of their second halves."""
    lanes = [lane for i in range(LANES) for lane in (i, i + LANES)]
    low, high = (ir.Constant(_WORDS, part) for part in (lanes[:LANES], lanes[LANES:]))
    return builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)
