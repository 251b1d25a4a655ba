"""One attention head of 64 numbers a position, which all MusicGen models have.

LLVM vectorizes these loops position by position, with a check of overlap for each. Here the query,
or the sum of the values, stays in registers over all positions.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from serve_app.kernels.cpu.target import FEATURES
from serve_app.kernels.cpu.vectors import INT32, element, int64, load, sum_lanes

HEAD_DIM = 64
GROUP = 4  # positions whose scores are computed together
_LANES = 16 if FEATURES.get("avx512f") else 8
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _LANES)
_FAST = ("contract", "reassoc", "nsz")


@intrinsic  # type: ignore[untyped-decorator]
def score_head(_: Any, query: Any, keys: Any, scores: Any) -> Any:
    """scores [n] = query [64] . keys [>= n, 64]; n >= GROUP. keys: fp32 or int8."""
    return types.void(query, keys, scores), _generate_score


@intrinsic  # type: ignore[untyped-decorator]
def mix_head(_: Any, weights: Any, values: Any, out: Any) -> Any:
    """out [64] = weights [n] @ values [>= n, 64]. values: fp32 or int8."""
    return types.void(weights, values, out), _generate_mix


def _generate_score(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the loop over groups of positions. The last group overlaps the one before."""
    query_type, keys_type, scores_type = signature.args
    query, keys, scores = arguments
    size = _length(context, builder, scores_type, scores)
    q = _vectors(builder, element(context, builder, query_type, query, int64(0)), query_type)
    with cgutils.for_range_slice(builder, int64(0), size, int64(GROUP)) as (at, _):
        last = builder.sub(size, int64(GROUP))
        first = builder.select(builder.icmp_signed("<", at, last), at, last)
        sums = []
        for position in range(GROUP):
            place = builder.add(first, int64(position))
            start = element(context, builder, keys_type, keys, place, int64(0))
            sums.append(_dot(builder, q, _vectors(builder, start, keys_type)))
        vector = sum_lanes(builder, sums)
        place = element(context, builder, scores_type, scores, first)
        builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=4)
    return context.get_dummy_value()


def _generate_mix(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the loop over positions."""
    weights_type, values_type, out_type = signature.args
    weights, values, out = arguments
    size = _length(context, builder, weights_type, weights)
    zero = ir.Constant(_VECTOR, [0.0] * _LANES)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(HEAD_DIM // _LANES)]
    with cgutils.for_range_slice(builder, int64(0), size, int64(1)) as (at, _):
        weight = builder.load(element(context, builder, weights_type, weights, at))
        spread = _spread(builder, weight)
        start = element(context, builder, values_type, values, at, int64(0))
        for total, value in zip(sums, _vectors(builder, start, values_type), strict=True):
            builder.store(_multiply_add(builder, builder.load(total), spread, value), total)
    start = element(context, builder, out_type, out, int64(0))
    for number, total in enumerate(sums):
        place = builder.gep(start, [int64(number * _LANES)])
        builder.store(builder.load(total), builder.bitcast(place, _VECTOR.as_pointer()), align=4)
    return context.get_dummy_value()


def _length(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Length of a vector."""
    return builder.extract_value(context.make_array(kind)(context, builder, array).shape, 0)


def _vectors(builder: Any, start: Any, kind: Any) -> list[Any]:
    """64 numbers of an array's type from `start` on, as vectors of fp32."""
    places = [builder.gep(start, [int64(first)]) for first in range(0, HEAD_DIM, _LANES)]
    if kind.dtype == types.float32:
        return [load(builder, place, _LANES, _FLOAT, 4) for place in places]
    stored = [load(builder, place, _LANES, ir.IntType(8), 1) for place in places]
    wide = [builder.sext(value, ir.VectorType(INT32, _LANES)) for value in stored]
    return [builder.sitofp(value, _VECTOR) for value in wide]


def _spread(builder: Any, value: Any) -> Any:
    """A vector of equal numbers."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(INT32, 0))
    lanes = ir.Constant(ir.VectorType(INT32, _LANES), [0] * _LANES)
    return builder.shuffle_vector(one, one, lanes)


def _dot(builder: Any, a: list[Any], b: list[Any]) -> Any:
    """The lanes' sums of products."""
    total = builder.fmul(a[0], b[0], flags=_FAST)
    for x, y in zip(a[1:], b[1:], strict=True):
        total = _multiply_add(builder, total, x, y)
    return total


def _multiply_add(builder: Any, total: Any, x: Any, y: Any) -> Any:
    return builder.fadd(total, builder.fmul(x, y, flags=_FAST), flags=_FAST)
