"""Checks of a machine: everything that the service needs to start."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serve_app.audio.file_format import FORMATS
from serve_app.machine import GIB, NEEDED_MEMORY_GIB, free_memory_gib, port_is_free

PACKAGES = ("ray", "torch", "torchaudio", "transformers", "fastapi")
_CODECS = {codec.name for spec in FORMATS.values() for codec in spec.codecs.values()}
ENCODERS = sorted(name for name in _CODECS if not name.startswith("pcm_"))  # FFmpeg always has PCM
MODEL = "facebook/musicgen-small"
_NEEDED_DISK_GIB = 5.0


@dataclass(frozen=True)
class Finding:
    """Result of one check. advice: the remedy where the result is bad, else empty."""

    subject: str
    good: bool
    state: str
    advice: str = ""


def examine(port: int) -> Iterator[Finding]:
    """Yield the result of every check, in the order of a start.

    port: HTTP port that the service will use.
    """
    checks: tuple[Callable[[], Finding], ...] = (
        _python, _packages, _memory, _disk, _gpu, lambda: _port(port), _encoders, _models,
    )  # fmt: skip
    for check in checks:
        yield check()


def _finding(subject: str, good: bool, state: str, remedy: str) -> Finding:
    """Build a finding that gives the remedy only where it is bad."""
    return Finding(subject, good, state, "" if good else remedy)


def _python() -> Finding:
    state = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return _finding("Python", good, state, "Use Python 3.11 or 3.12.")


def _packages() -> Finding:
    found: list[str] = []
    missing: list[str] = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    remedy = f"Install {', '.join(missing)}: run `uv sync`, or `make demo` for a first try."
    return _finding("packages", not missing, ", ".join(found), remedy)


def _memory() -> Finding:
    free = free_memory_gib()
    needs = f"Ray with one small replica needs about {NEEDED_MEMORY_GIB:g} GiB"
    remedy = f"{needs}. Close other programs."
    return _finding("memory", free >= NEEDED_MEMORY_GIB, f"{free:.1f} GiB free", remedy)


def _disk() -> Finding:
    home = Path(os.environ.get("HF_HOME", Path.home()))
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free / GIB
    remedy = (
        f"The published models need {_NEEDED_DISK_GIB:g} GiB and more. "
        "Free some space, or set HF_HOME to a folder on another disk."
    )
    return _finding("disk", free >= _NEEDED_DISK_GIB, f"{free:.0f} GiB free at {home}", remedy)


def _gpu() -> Finding:
    """Accept a machine without a GPU: the embedded model runs on a CPU."""
    if shutil.which("nvidia-smi") is None:
        state = "none; configs/nano.yaml needs none, the other configurations do"
        return Finding("GPU", True, state)
    command = ["nvidia-smi", "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if run.returncode != 0:
        state = f"nvidia-smi fails with status {run.returncode}"
        return Finding("GPU", False, state, "Install the NVIDIA driver again, or restart it.")
    return Finding("GPU", True, "; ".join(run.stdout.strip().splitlines()))


def _port(port: int) -> Finding:
    if port_is_free(port):
        return Finding("port", True, f"{port} is free")
    remedy = "Stop the program that listens there, or choose another port with --port."
    return Finding("port", False, f"{port} is taken", remedy)


def _encoders() -> Finding:
    try:
        import av
    except ImportError as error:
        state = f"PyAV cannot be imported: {error}"
        return Finding("audio", False, state, "Install PyAV again: `pip install av`.")
    missing = [encoder for encoder in ENCODERS if encoder not in av.codecs_available]
    state = f"PyAV {av.__version__}, missing encoders: {', '.join(missing) or 'none'}"
    remedy = "Install PyAV's own wheel, which has them: `pip install --force-reinstall av`."
    return _finding("audio", not missing, state, remedy)


def _models() -> Finding:
    """Look for a published model in the cache, else ask the hub for it."""
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(MODEL, "config.json"), str):
        return Finding("models", True, f"{MODEL} is in the cache")
    return _hub()


def _hub() -> Finding:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        HfApi().model_info(MODEL, timeout=5)
    except OfflineModeIsEnabled:
        state = "offline (HF_HUB_OFFLINE): only cached models and the embedded model"
        return Finding("models", True, state)
    except HfHubHTTPError as error:
        state = f"the hub refuses {MODEL} with status {error.response.status_code}"
        remedy = "Check HF_TOKEN and HF_ENDPOINT. The embedded model needs neither."
        return Finding("models", False, state, remedy)
    except Exception as error:  # a network fails in many ways; none of them may end the checks
        state = f"the hub cannot be reached ({type(error).__name__})"
        remedy = (
            "Check the network, or copy a model here and name its folder. "
            "The embedded model needs no hub."
        )
        return Finding("models", False, state, remedy)
    return Finding("models", True, "the hub answers")
