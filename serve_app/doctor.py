"""What the service needs of a machine, looked for one by one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serve_app.machine import GIB, NEEDED_MEMORY_GIB, free_memory_gib, port_is_free

PACKAGES = ("ray", "torch", "torchaudio", "transformers", "fastapi")
ENCODERS = ("libmp3lame", "libopus", "flac")
MODEL = "facebook/musicgen-small"
_NEEDED_DISK_GIB = 5.0


@dataclass(frozen=True)
class Finding:
    """What was found of one thing; advice: what to do where it is not good."""

    subject: str
    good: bool
    state: str
    advice: str = ""


def examine(port: int) -> Iterator[Finding]:
    """Findings, in the order of a start. port: the one that the service is to have."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python, _packages, _memory, _disk, _gpu, lambda: _port(port), _encoders, _models,
    )  # fmt: skip
    for check in checks:
        yield check()


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return Finding("Python", good, found, "" if good else "Use Python 3.11 or 3.12.")


def _packages() -> Finding:
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    advice = (
        f"Install {', '.join(missing)}: `make demo` or `uv sync` sets everything up."
        if missing
        else ""
    )
    return Finding("packages", not missing, ", ".join(found), advice)


def _memory() -> Finding:
    free = free_memory_gib()
    good = free >= NEEDED_MEMORY_GIB
    advice = (
        ""
        if good
        else f"Ray with one small replica needs about {NEEDED_MEMORY_GIB:g} GiB: close other programs."
    )
    return Finding("memory", good, f"{free:.1f} GiB free", advice)


def _disk() -> Finding:
    home = Path(os.environ.get("HF_HOME", Path.home()))
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free / GIB
    good = free >= _NEEDED_DISK_GIB
    advice = (
        ""
        if good
        else f"Published models need {_NEEDED_DISK_GIB:g} GiB and more: make room, or point HF_HOME elsewhere."
    )
    return Finding("disk", good, f"{free:.0f} GiB free at {home}", advice)


def _gpu() -> Finding:
    """None is fine: the embedded model runs on a CPU."""
    if shutil.which("nvidia-smi") is None:
        return Finding(
            "GPU", True, "none; configs/nano.yaml needs none, the other configurations do"
        )
    command = ["nvidia-smi", "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if run.returncode != 0:
        return Finding(
            "GPU",
            False,
            "nvidia-smi fails",
            "Its driver does not answer: install or restart the driver.",
        )
    return Finding("GPU", True, "; ".join(run.stdout.strip().splitlines()))


def _port(port: int) -> Finding:
    if not port_is_free(port):
        return Finding(
            "port", False, f"{port} is taken", "Stop what listens there, or serve with --port."
        )
    return Finding("port", True, f"{port} is free")


def _encoders() -> Finding:
    try:
        import av
    except ImportError as error:
        return Finding(
            "audio",
            False,
            f"PyAV cannot be imported: {error}",
            "Install it again: `pip install av`.",
        )
    missing = [encoder for encoder in ENCODERS if encoder not in av.codecs_available]
    advice = (
        "Use PyAV's own wheel, which has them: `pip install --force-reinstall av`."
        if missing
        else ""
    )
    return Finding(
        "audio", not missing, f"PyAV {av.__version__}, {len(missing)} encoders missing", advice
    )


def _models() -> Finding:
    """Whether published models can be had: from the cache, or from the hub."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(try_to_load_from_cache(MODEL, "config.json"), str):
        return Finding("models", True, f"{MODEL} is in the cache")
    try:
        HfApi().model_info(MODEL, timeout=5)
    except OfflineModeIsEnabled:
        return Finding(
            "models",
            True,
            "offline (HF_HUB_OFFLINE): only what is in the cache, and the embedded model",
        )
    except HfHubHTTPError as error:
        advice = "Look at HF_TOKEN and HF_ENDPOINT. The embedded model needs none of this."
        return Finding(
            "models", False, f"the hub refuses {MODEL}: {error.response.status_code}", advice
        )
    except Exception as error:  # whatever the network does
        advice = (
            "Only the embedded model and local folders can be served. "
            "Check the network, or fetch models elsewhere."
        )
        return Finding(
            "models", False, f"the hub cannot be reached ({type(error).__name__})", advice
        )
    return Finding("models", True, "the hub answers")
