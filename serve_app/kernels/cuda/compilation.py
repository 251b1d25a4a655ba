"""Declaration of Triton kernels, with types: Triton has none.

Triton compiles a kernel on its first launch, for the device at hand; constants and the alignment of
the other arguments select the variant. Within a kernel, a tensor is the address of its first
element. Annotate it and numbers as `tl.tensor`: Triton looks annotations up as it compiles.

Programmatic dependent launch (CUDA, from compute capability 9.0): the programs of a kernel start
while those of the one before end. A kernel of a step calls `gdc_wait` before it reads or writes
what other kernels write or read, and `gdc_launch_dependents` when most of its work is done.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, cast

import torch
import triton

Grid = tuple[int, ...]
_DEPENDENT_LAUNCH = (9, 0)  # compute capability


class Kernel(Protocol):
    """A kernel, or a function that kernels call."""

    def __getitem__(self, grid: Grid) -> Callable[..., Any]:
        """Return the launch over a grid of programs."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function within another kernel."""
        ...


jit = cast(Callable[[Callable[..., Any]], Kernel], triton.jit)


@cache
def dependent_launch(device: torch.device) -> dict[str, bool]:
    """Return the constant and the option of a step's launches: whether they overlap.

    Never where there is no GPU: a step can be traced for one that is not there.
    """
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    return overlap(torch.cuda.get_device_capability(device) if on_gpu else (0, 0))


def overlap(capability: tuple[int, int]) -> dict[str, bool]:
    """Return the constant and the option of a step's launches for a compute capability."""
    if capability < _DEPENDENT_LAUNCH:
        return {"DEPENDENT": False}
    return {"DEPENDENT": True, "launch_pdl": True}
