"""One call of a kernel beside what PyTorch has for it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu_check.measurement import Setting

Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A kernel's call. error: its largest deviation, with the bound; nbytes: what it must read.

    kernel, reference: the calls to time, of the kernel and of PyTorch.
    """

    name: str
    error: float
    bound: float
    kernel: Work
    reference: Work
    nbytes: int


def random(setting: Setting, *shape: int, std: float = 1.0) -> Tensor:
    """Draw numbers in the setting's precision: fp16 on a GPU, fp32 on a CPU."""
    generator = torch.Generator(setting.device).manual_seed(sum(shape))
    numbers = torch.randn(shape, generator=generator, device=setting.device)
    return (std * numbers).to(torch.float16 if setting.on_gpu else torch.float32)


def bound_of(setting: Setting) -> float:
    """Return the largest deviation from fp32 that rounding to the setting's precision explains."""
    return 4e-3 if setting.on_gpu else 2e-5


def deviation(result: Tensor, exact: Tensor) -> float:
    """Return the largest deviation, relative to the largest exact value where that is above 1."""
    largest = max(1.0, float(exact.abs().max()))
    return float((result.float() - exact.float()).abs().max()) / largest
