"""The last line of every benchmark: its figures, and what they were found with."""

import json
import platform
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = ("musicgen-serve", "torch", "transformers", "ray")


def print_result(benchmark: str, **figures: Any) -> None:
    """One line of JSON."""
    command = shlex.join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]])
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    result = {
        "benchmark": benchmark,
        "command": command,
        "hardware": hardware(),
        "versions": versions,
    }
    print(json.dumps(result | figures))


def hardware() -> dict[str, Any]:
    """This machine's processor, its cores and its GPU, if there is one."""
    found: dict[str, Any] = {"cpu": _processor(), "cores": psutil.cpu_count()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    """Its name and its widest vectors, which matter most."""
    file = Path("/proc/cpuinfo")
    info = file.read_text() if file.exists() else ""
    name = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    vectors = next(
        (f" ({kind})" for kind in ("avx512_vnni", "avx512f", "avx2") if f" {kind} " in info), ""
    )
    return (name.group(1) if name else platform.processor() or platform.machine()) + vectors
