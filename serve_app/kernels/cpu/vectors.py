"""Emission of LLVM's vector instructions, for intrinsics of numba."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

INT8 = ir.IntType(8)
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)


def int64(value: int) -> Any:
    return ir.Constant(INT64, value)


def element(context: Any, builder: Any, kind: Any, array: Any, *indices: Any) -> Any:
    """Pointer to an element of `array`."""
    made = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, made, list(indices))


def load(builder: Any, pointer: Any, lanes: int, kind: Any, align: int) -> Any:
    """Load a vector of `lanes` numbers, of `align` bytes each."""
    vector = ir.VectorType(kind, lanes)
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = align
    return value


def prefetch(builder: Any, pointer: Any) -> None:
    """Fetch the line at `pointer`, which may lie behind the array, into all caches."""
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, INT32, INT32, INT32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, keep, data = (ir.Constant(INT32, value) for value in (0, 3, 1))
    builder.call(function, [pointer, read, keep, data])


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call an intrinsic of LLVM."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, arguments)


def constants(value: int, kind: Any, lanes: int) -> Any:
    """A vector of equal integers."""
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)


def halves(builder: Any, vector: Any) -> tuple[Any, Any]:
    """The first and the second half of a vector."""
    lanes = vector.type.count
    return (
        _shuffle(builder, vector, vector, range(lanes // 2)),
        _shuffle(builder, vector, vector, range(lanes // 2, lanes)),
    )


def sum_lanes(builder: Any, vectors: list[Any]) -> Any:
    """Sum the lanes of each of four vectors -> a vector of four sums, of the same type.

    Adds transposed pairs within 128 bits, as x86's unpacking instructions do, then the halves.
    """
    a, b, c, d = vectors
    add = _add_integers if a.type.element == INT32 else _add_floats
    low, high = ([0, 0, 1, 1], [2, 2, 3, 3])
    ab = add(builder, _unpack(builder, a, b, low), _unpack(builder, a, b, high))
    cd = add(builder, _unpack(builder, c, d, low), _unpack(builder, c, d, high))
    total = add(builder, _pairs(builder, ab, cd, 0), _pairs(builder, ab, cd, 2))
    while total.type.count > 4:
        total = add(builder, *halves(builder, total))
    return total


def _add_integers(builder: Any, a: Any, b: Any) -> Any:
    return builder.add(a, b)


def _add_floats(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


def _unpack(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Alternate lanes of a and b, within each group of four."""
    count = a.type.count
    mask = [
        group + lane + (count if odd % 2 else 0)
        for group in range(0, count, 4)
        for odd, lane in enumerate(lanes)
    ]
    return _shuffle(builder, a, b, mask)


def _pairs(builder: Any, a: Any, b: Any, first: int) -> Any:
    """Two lanes of a from `first` on, then the same of b, within each group of four."""
    count = a.type.count
    mask = [
        group + source + first + lane
        for group in range(0, count, 4)
        for source in (0, count)
        for lane in (0, 1)
    ]
    return _shuffle(builder, a, b, mask)


def _shuffle(builder: Any, a: Any, b: Any, mask: Any) -> Any:
    lanes = list(mask)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))
