"""Declaration of Triton kernels, with types: Triton has none.

Triton compiles a kernel on its first launch, for the device at hand; constants and the alignment of
the other arguments select the variant. Within a kernel, a tensor is the address of its first
element. Annotate it and numbers as `tl.tensor`: Triton looks annotations up as it compiles.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

import triton

Grid = tuple[int, ...]


class Kernel(Protocol):
    """A kernel, or a function that kernels call."""

    def __getitem__(self, grid: Grid) -> Callable[..., Any]:
        """Return the launch over a grid of programs."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function within another kernel."""
        ...


jit = cast(Callable[[Callable[..., Any]], Kernel], triton.jit)
