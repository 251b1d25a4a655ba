"""Run Triton kernels on CPU tensors, and record their launches.

`TRITON_INTERPRET` is read when a kernel is declared, so one process could either interpret a module's kernels or
compile them. `interpreted` replaces the launch of every kernel instead: inside it, kernels run in Triton's interpreter;
the kernels themselves stay as they are, and compile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.jit import JITFunction

from tests.kernels.cuda.compiled import Launch
from tests.untraced import untraced

# Checks of integers' overflow take as long as all else, and tensors of tests are small.
WITHOUT_CHECKS = interpreter.InterpreterOptions(sanitize_overflow=False)
BOTH_LANGUAGES = SimpleNamespace(__globals__={"tl": tl, "core": tl.core})


@contextmanager
def interpreted(execute: bool = True) -> Iterator[list[Launch]]:
    """Interpret all kernels that are launched on CPU tensors; yield the launches so far.

    execute: False only records the launches. Launches on CUDA tensors go to the GPU, and are recorded too.
    """
    launches: list[Launch] = []
    launch_compiled: Callable[..., Any] = JITFunction.run

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        launch = Launch(kernel, grid, args, kwargs)
        launches.append(launch)
        if any(
            isinstance(value, torch.Tensor) and value.is_cuda for value in (*args, *kwargs.values())
        ):
            return launch_compiled(kernel, *args, grid=grid, warmup=warmup, **kwargs)
        if execute:
            _interpret(launch)
        return None

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        return _rewritten(function.fn)(*args, **kwargs)

    with patch.object(JITFunction, "run", run), patch.object(JITFunction, "__call__", call):
        yield launches


@cache
def _rewritten(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as the interpreter calls it."""
    return cast(Callable[..., Any], interpreter.InterpretedFunction(function).rewrite())


@untraced
def _interpret(launch: Launch) -> None:
    """Run all programs of a launch one after the other.

    The interpreter replaces functions of Triton's language while it runs. Done here for both modules of the language,
    so that a kernel's functions need not do it again, and all of it is undone.
    """
    scope = interpreter._patch_lang(BOTH_LANGUAGES)
    try:
        kernel = interpreter.InterpretedFunction(launch.kernel.fn)
        builder = interpreter.InterpreterBuilder
        with (
            patch.object(builder, "create_dot", _dot),
            patch.object(builder, "cast_impl", _cast),
            patch.object(interpreter.interpreter_builder, "options", WITHOUT_CHECKS),
        ):
            kernel.run(*launch.args, grid=launch.grid, warmup=False, **launch.kwargs)
    finally:
        scope.restore()


def _dot(_: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
    """Multiply in fp32. The interpreter's own dot takes the bits of bf16 for integers."""
    del input_precision, max_num_imprecise_acc
    product = np.matmul(_in_fp32(a), _in_fp32(b))
    return interpreter.TensorHandle(product + d.data, d.dtype.scalar)


def _cast(_: Any, source: Any, dtype: Any) -> Any:
    """Convert, and round to bf16 as a GPU does. The interpreter truncates, and takes integers for bits of bf16."""
    target = dtype.scalar
    from_bf16 = source.dtype.scalar == tl.bfloat16
    if target == tl.bfloat16 and not from_bf16:
        rounded = torch.from_numpy(np.atleast_1d(_in_fp32(source))).bfloat16().view(torch.int16)
        data = rounded.numpy().view(np.uint16).reshape(source.data.shape)
    elif from_bf16 and target != tl.bfloat16:
        data = _in_fp32(source).astype(interpreter._get_np_dtype(dtype))
    else:
        data = source.data.astype(interpreter._get_np_dtype(dtype))
    return interpreter.TensorHandle(data, target)


def _in_fp32(handle: Any) -> Any:
    if handle.dtype.scalar == tl.bfloat16:
        return (handle.data.astype(np.uint32) << 16).view(np.float32)
    return handle.data.astype(np.float32)
