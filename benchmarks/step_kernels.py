"""Count the kernels of a decode step by tracing it, without a GPU.

The step of a small model runs on fake CUDA tensors, which compute nothing. Each of PyTorch's
operations that computes or changes a tensor counts as one kernel, views and allocations do not, and
each launch of Triton counts as one. The kernels of a layer are the difference between models of two layers and of one.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.jit import JITFunction

from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig

MakeRunner = Callable[[MusicGen], ModelRunner]
FRAMES = 200
TEXT_TOKENS = 64


@dataclass(frozen=True)
class StepKernels:
    """Kernels of a step by name: of one layer, and of all that is outside the layers."""

    layer: Counter[str]
    outside: Counter[str]

    def total(self, layers: int) -> int:
        return layers * self.layer.total() + self.outside.total()


def trace_step(make_runner: MakeRunner) -> StepKernels:
    """Count the kernels of a guided step of one slot."""
    one = _kernels(1, make_runner)
    layer = _kernels(2, make_runner) - one
    return StepKernels(layer, one - layer)


def _kernels(layers: int, make_runner: MakeRunner) -> Counter[str]:
    transformer = TransformerConfig(128, layers, num_heads=2, ffn_dim=512)
    config = MusicGenConfig(transformer, 4, 2048, (0, 1, 2, 3), 1, 768)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        with _default_dtype(torch.float16):
            model = MusicGen(config)
        runner = make_runner(model)
        with count_kernels() as kernels:
            runner.step(BatchShape(1, 256, TEXT_TOKENS))
    return kernels


@contextmanager
def count_kernels() -> Iterator[Counter[str]]:
    """Count kernels by name. Triton's launches are counted, not executed."""
    kernels: Counter[str] = Counter()

    def launch(kernel: Any, *_args: Any, **_kwargs: Any) -> None:
        kernels[kernel.fn.__name__] += 1

    with patch.object(JITFunction, "run", launch), _OperationCounter(kernels):
        yield kernels


class _OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts PyTorch's operations in `kernels` while it is active."""

    def __init__(self, kernels: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kernels = kernels

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.namespace == "aten" and function not in UNDIVIDED:
            with self:
                result = function.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = function(*args, **kwargs)
        if function._schema.is_mutable or _is_computed(function, result, (args, kwargs)):
            self._kernels[str(function)] += 1
        return result


# Which of attention's implementations PyTorch takes depends on the GPU; each is one kernel.
UNDIVIDED = (torch.ops.aten.scaled_dot_product_attention.default,)


def _is_computed(function: Any, result: Any, arguments: Any) -> bool:
    """Return whether a result has memory of its own that a kernel has written."""
    if "empty" in function.name():
        return False
    known = {_memory(x) for x in tree_leaves(arguments) if isinstance(x, Tensor)}
    made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
    return any(_memory(x) not in known for x in made)


def _memory(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
