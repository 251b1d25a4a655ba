"""Check 1: the card, the driver, the libraries, a C compiler, and the attention that PyTorch runs."""

import platform
import shutil
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.clock import kernels
from benchmarks.gpu_check.measurement import Measurement, Setting, at_least, found, holds
from benchmarks.gpu_check.models import scale_of
from benchmarks.report import hardware
from serve_app.doctor.gpu_software import DRIVERS, driver_version
from serve_app.kernels.cuda.compiler import finds_compiler
from serve_app.models.musicgen.prefill_rows import PREFILL_ROWS

# Parts of kernels' names, the most telling first.
_BACKENDS = {
    "cudnn": ("cudnn", "sdpa"),
    "flash": ("flash",),
    "memory-efficient": ("fmha_cutlass", "efficient_attention", "mem_eff"),
}


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield the environment; the bars are those without which no replica is fast on a GPU."""
    yield found("processor", str(hardware()["cpu"]))
    yield found("Python", platform.python_version())
    yield found("PyTorch", torch.__version__)
    if setting.on_gpu:
        yield from _card(setting.device)
    yield _compiler(setting)
    yield found("compute-sanitizer", shutil.which("compute-sanitizer") or "none")
    yield from _attention(setting)


def _compiler(setting: Setting) -> Measurement:
    """Look for the C compiler, which a machine without a GPU can do without."""
    name = "C compiler for Triton"
    compiles = finds_compiler()
    return holds(name, compiles) if setting.on_gpu else found(name, "yes" if compiles else "no")


def _card(device: torch.device) -> Iterator[Measurement]:
    properties = torch.cuda.get_device_properties(device)
    yield found("card", properties.name)
    yield found("compute capability", f"{properties.major}.{properties.minor}")
    yield found("multiprocessors", properties.multi_processor_count)
    yield found("memory", round(properties.total_memory / 2**30, 1), "GiB")
    cuda = torch.version.cuda or "none"
    yield found("CUDA of PyTorch", cuda)
    yield found("cuDNN", str(torch.backends.cudnn.version()))  # type: ignore[no-untyped-call]
    branch = int(driver_version().partition(".")[0] or 0)
    yield at_least("driver's branch", branch, DRIVERS.get(cuda, 0))


def _attention(setting: Setting) -> Iterator[Measurement]:
    """Name the backend of scaled_dot_product_attention for the step's and the prefill's shapes."""
    for size in ("small", "large"):
        scale = scale_of(size, setting)
        head_dim = scale.hidden_size // scale.num_heads
        for what, queries, keys in (("step", 1, 512), ("prefill", PREFILL_ROWS // 2, 512)):
            shape = (2, scale.num_heads)
            query, key, value = (
                torch.randn(*shape, n, head_dim, device=setting.device)
                for n in (queries, keys, keys)
            )
            half = torch.float16 if setting.on_gpu else torch.float32
            mask = torch.zeros(1, 1, queries, keys, device=setting.device, dtype=half)
            name = sdpa_backend(query.to(half), key.to(half), value.to(half), mask)
            yield found(f"attention of {size}'s {what}", name)


def sdpa_backend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> str:
    """Return the backend that ran, by the names of its kernels: cudnn, flash, ..., or math."""

    def attend() -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, mask)

    names = " ".join(kernels(attend, query.device)).lower()
    for backend, parts in _BACKENDS.items():
        if (
            all(part in names for part in parts)
            if backend == "cudnn"
            else any(part in names for part in parts)
        ):
            return backend
    return "math"
