"""Atomic operations on an int64 array, and the instruction and the call for a thread that waits."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from serve_app.kernels.cpu.target import FEATURES
from serve_app.kernels.cpu.vectors import INT32, call, element


@intrinsic  # type: ignore[untyped-decorator]
def fetch_add(_: Any, array: Any, index: Any, value: Any) -> Any:  # noqa: ARG001
    """Add to array[index] -> its value before. Orders memory as acquire and release do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = element(context, builder, signature.args[0], arguments[0], arguments[1])
        return builder.atomic_rmw("add", place, arguments[2], ordering="acq_rel")

    return types.int64(array, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def fetch(_: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Return array[index]. Orders memory as acquire does."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = element(context, builder, signature.args[0], arguments[0], arguments[1])
        return builder.load_atomic(place, ordering="acquire", align=8)

    return types.int64(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def pause(_: Any) -> Any:
    """Leave the core's resources to its other thread for some cycles, where x86 has that."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        if FEATURES.get("sse2"):
            call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def sched_yield(_: Any) -> Any:
    """Let another thread run on this core (POSIX)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        call(builder, "sched_yield", INT32)
        return context.get_dummy_value()

    return types.void(), generate
