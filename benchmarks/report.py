"""Output shared by all benchmarks: tables, and the last line with figures and environment."""

import json
import math
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = ("musicgen-serve", "torch", "transformers", "ray")
VECTOR_EXTENSIONS = ("avx512_vnni", "avx512f", "avx2")  # widest first


def summary(docstring: str | None) -> str:
    """First line of a module's docstring, the description in its --help."""
    return (docstring or "").split("\n")[0]


def print_round(number: int, rounds: int, name: str) -> None:
    """Report on stderr that round `number` of `rounds` of one compared program begins."""
    print(f"round {number} of {rounds}: {name} ...", file=sys.stderr, flush=True)


def print_table(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print rows of equal columns as a Markdown table; None and NaN are empty cells."""
    rows = _defined(rows)
    columns = list(next(iter(rows.values())))
    print(f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
    for name, row in rows.items():
        print(
            f"| {name} | {' | '.join('' if value is None else f'{value:g}' for value in row.values())} |"
        )


def print_result(benchmark: str, **figures: Any) -> None:
    """Print the figures as one line of JSON, NaN as null, with command, hardware and versions."""
    command = shlex.join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]])
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    result = {
        "benchmark": benchmark,
        "command": command,
        "hardware": hardware(),
        "versions": versions,
    }
    print(json.dumps(result | _defined(figures), allow_nan=False))


def _defined(value: Any) -> Any:
    """Replace each NaN by None."""
    if isinstance(value, Mapping):
        return {name: _defined(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def hardware() -> dict[str, Any]:
    """Name this machine's processor, its number of cores, and its GPU if there is one."""
    found: dict[str, Any] = {"cpu": _processor(), "cores": psutil.cpu_count()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    """Name of the processor and of its widest vector extension."""
    file = Path("/proc/cpuinfo")
    info = file.read_text() if file.exists() else ""
    match = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    name = match.group(1) if match else platform.processor() or platform.machine()
    extension = next((kind for kind in VECTOR_EXTENSIONS if f" {kind} " in info), None)
    return name if extension is None else f"{name} ({extension})"
