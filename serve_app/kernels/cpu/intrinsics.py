"""LLVM conversions that numba does not expose: narrow floats and the bits of a float."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator]
def widen(_: Any, bits: Any) -> Any:
    """Return a stored weight as fp32: float32, or uint16 bits of fp16, or int16 bits of bf16."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        [value] = arguments
        [kind] = signature.args
        if kind == types.uint16:
            return builder.fpext(builder.bitcast(value, ir.HalfType()), ir.FloatType())
        if kind == types.int16:
            high = builder.shl(builder.zext(value, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(high, ir.FloatType())
        return value

    return types.float32(bits), generate


@intrinsic  # type: ignore[untyped-decorator]
def from_bits(_: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float32 that has the bits of an int32."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate
