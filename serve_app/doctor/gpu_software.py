"""NVIDIA's driver against the CUDA version of the installed PyTorch, and Triton's C compiler."""

import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from os import environ

from serve_app.config.app import AppConfig
from serve_app.doctor.finding import Finding, note, problem
from serve_app.doctor.gpus import needs_gpu

# The oldest branch of NVIDIA's driver for each CUDA version: release notes of the CUDA toolkit.
DRIVERS = {"12.6": 560, "13.0": 580, "13.2": 595}
_SUBJECT = "GPU"
_QUERY = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
_COMPILERS = ("gcc", "clang")


def check_gpu_software(config: AppConfig) -> Iterator[Finding]:
    """Yield what keeps the models from this machine's GPUs, or makes them slow there."""
    if not any(map(needs_gpu, config.models)) or not (driver := driver_version()):
        return
    cuda = pytorch_cuda()
    needed = DRIVERS.get(cuda, 0)
    if int(driver.partition(".")[0]) < needed:
        yield problem(
            _SUBJECT,
            f"NVIDIA's driver is {driver}, and PyTorch is built for CUDA {cuda}",
            f"Install driver {needed} or later, or the build of PyTorch for an older CUDA.",
        )
    if not any(map(shutil.which, (environ.get("CC", ""), *_COMPILERS))):
        yield note(
            _SUBJECT,
            "no C compiler: this package's GPU kernels cannot run, and PyTorch's are slower",
            "Install one: `apt install gcc libc6-dev` (Debian, Ubuntu).",
        )


def driver_version() -> str:
    """Return the driver's version, such as 580.95.05; empty where nvidia-smi does not tell it."""
    try:
        run = subprocess.run(_QUERY, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    first = run.stdout.strip().partition("\n")[0]
    return first if first.partition(".")[0].isdecimal() else ""


def pytorch_cuda() -> str:
    """Return the CUDA version of the installed PyTorch, such as 13.0, without importing it."""
    try:
        return ".".join(version("nvidia-cuda-runtime").split(".")[:2])
    except PackageNotFoundError:  # of a CPU, or for CUDA 12
        return ""
