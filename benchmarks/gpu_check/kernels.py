"""Check 7: the Triton kernels against PyTorch's attention, products and sampler: error and time."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator

import torch

from benchmarks.gpu_check.clock import best_seconds
from benchmarks.gpu_check.kernel_case import Case
from benchmarks.gpu_check.measurement import Measurement, Setting, at_most, found, holds
from benchmarks.gpu_check.models import SIZES, scale_of

_SANITIZER = "compute-sanitizer"
_MOST_S = 60.0
_TENSOR_CORES = (8, 0)  # compute capability from which `tl.dot` has tensor cores


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield the largest error and the time of each case; the products on sm_80 and later only."""
    # Imported here: PyTorch for CPUs alone brings no Triton, and there this check is skipped.
    from benchmarks.gpu_check import attention_cases, draw_cases, product_cases

    for size in ("small",) if setting.tiny else SIZES:
        scale = scale_of(size, setting)
        yield from _measure(attention_cases.cases(size, scale, setting), setting)
        if not setting.on_gpu or torch.cuda.get_device_capability(setting.device) >= _TENSOR_CORES:
            yield from _measure(product_cases.cases(size, scale, setting), setting)
    yield from _measure(draw_cases.cases(setting), setting)
    if setting.on_gpu and not setting.tiny:
        yield _sanitized(setting)


def _measure(cases: Iterable[Case], setting: Setting) -> Iterator[Measurement]:
    for case in cases:
        yield at_most(f"{case.name}", case.error, case.bound)
        if not setting.on_gpu:
            continue
        ours_s = best_seconds(case.kernel, setting.device)
        theirs_s = best_seconds(case.reference, setting.device)
        speed = case.nbytes / ours_s / 1e9
        value = f"{1e6 * ours_s:.1f} us, {speed:.0f} GB/s; PyTorch {1e6 * theirs_s:.1f} us"
        yield found(f"{case.name}: time", value)


def _sanitized(setting: Setting) -> Measurement:
    """Run the tiny cases under compute-sanitizer, where it is installed."""
    name = f"{_SANITIZER} --tool memcheck over tiny shapes"
    if shutil.which(_SANITIZER) is None:
        return found(name, "not installed")
    lines = setting.folder / "sanitizer.jsonl"
    command = [_SANITIZER, "--tool", "memcheck", "--error-exitcode", "9", sys.executable, "-m",
               "benchmarks.gpu_check.child", "kernels", "--device", "cuda", "--tiny",
               "--folder", str(setting.folder), "--lines", str(lines)]  # fmt: skip
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_MOST_S, check=False)
    except subprocess.TimeoutExpired:
        return found(name, f"not done within {_MOST_S:g} s")
    return holds(name, run.returncode == 0, run.stdout.strip()[-200:] or "no output")
