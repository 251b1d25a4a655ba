"""Vectors of LANES floats in LLVM's intermediate representation, for intrinsics.

LLVM splits them into as many registers as the processor needs.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16
FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
INT64 = ir.IntType(64)
_INT32 = ir.IntType(32)
_UNDEFINED = ir.Constant(VECTOR, ir.Undefined)


def int64(value: int) -> Any:
    """Constant index."""
    return ir.Constant(INT64, value)


def element(context: Any, builder: Any, signature: Any, arguments: Any, number: int) -> Any:
    """Pointer to an element of a flat array: argument `number`, at the index that follows it."""
    made = context.make_array(signature.args[number])(context, builder, arguments[number])
    return builder.gep(made.data, [arguments[number + 1]])


def load(builder: Any, pointer: Any, offset: int) -> Any:
    """Unaligned load of a vector, `offset` floats after the pointer."""
    at = builder.gep(pointer, [int64(offset)])
    value = builder.load(builder.bitcast(at, VECTOR.as_pointer()))
    value.align = 4
    return value


def store(builder: Any, value: Any, pointer: Any, offset: int) -> None:
    """Unaligned store of a vector, `offset` floats after the pointer."""
    at = builder.gep(pointer, [int64(offset)])
    builder.store(value, builder.bitcast(at, VECTOR.as_pointer())).align = 4


def broadcast(builder: Any, value: Any) -> Any:
    """Vector of LANES times the same float."""
    first = builder.insert_element(_UNDEFINED, value, ir.Constant(_INT32, 0))
    lanes = ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, _UNDEFINED, lanes)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    name = f"llvm.fma.v{LANES}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def reduce_add(builder: Any, vector: Any) -> Any:
    """Sum of a vector's lanes, in any order."""
    kind = ir.FunctionType(FLOAT, [FLOAT, VECTOR])
    name = f"llvm.vector.reduce.fadd.v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [ir.Constant(FLOAT, 0.0), vector], fastmath=("reassoc",))


def _opaque(builder: Any, index: Any) -> Any:
    """The same index by an empty line of assembly: LLVM then knows no number of passes."""
    return builder.asm(ir.FunctionType(INT64, [INT64]), "", "=r,0", [index], False)


class Loop:
    """A loop over an index from 0 on in steps, with values carried from one pass to the next.

    Emit the body between `Loop(...)` and `close`. unroll: False keeps LLVM from unrolling it, for a
    body that fills the registers: of two passes at once, it spills some.
    """

    def __init__(
        self, builder: Any, end: Any, step: int, carried: list[Any], unroll: bool = True
    ) -> None:
        self._builder = builder
        self._unroll = unroll
        self._end = end
        self._step = step
        before = builder.block
        self._body = builder.append_basic_block("body")
        builder.branch(self._body)
        builder.position_at_end(self._body)
        self.index = self._phi(int64(0), before)
        self.carried = [self._phi(value, before) for value in carried]

    def close(self, after: list[Any]) -> list[Any]:
        """End the body with the carried values' next ones; return those after the last pass."""
        builder = self._builder
        following = builder.add(self.index, int64(self._step))
        if not self._unroll:
            following = _opaque(builder, following)
        end = builder.block
        for phi, value in zip([self.index, *self.carried], [following, *after], strict=True):
            phi.add_incoming(value, end)
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", following, self._end), self._body, done)
        builder.position_at_end(done)
        return after

    def _phi(self, value: Any, before: Any) -> Any:
        phi = self._builder.phi(value.type)
        phi.add_incoming(value, before)
        return phi
