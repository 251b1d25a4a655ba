"""Python, packages, audio encoders, memory and disk of this machine."""

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serve_app.audio.file_format import FORMATS
from serve_app.config.app import AppConfig
from serve_app.doctor.finding import Finding, checked, note, problem
from serve_app.machine import GIB, NEEDED_MEMORY_GIB, free_memory_gib

PACKAGES = ("ray", "torch", "torchaudio", "transformers", "fastapi")
_CODECS = {codec.name for spec in FORMATS.values() for codec in spec.codecs.values()}
ENCODERS = sorted(name for name in _CODECS if not name.startswith("pcm_"))  # FFmpeg always has PCM
_PUBLISHED = "facebook/"
_PUBLISHED_GIB = 5.0  # of each of the published models, and more
_LEAST_GIB = 1.0  # Ray's logs and objects


def check_python() -> Finding:
    state = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return checked("Python", good, state, "Use Python 3.11 or 3.12.")


def check_packages() -> Finding:
    found: list[str] = []
    missing: list[str] = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    remedy = f"Install {', '.join(missing)}: run `uv sync`, or `make demo` for a first try."
    return checked("packages", not missing, ", ".join(found), remedy)


def check_encoders() -> Finding:
    """Look for FFmpeg's encoders in PyAV."""
    try:
        import av
    except ImportError as error:
        state = f"PyAV cannot be imported: {error}"
        return problem("audio", state, "Install PyAV again: `pip install av`.")
    missing = [encoder for encoder in ENCODERS if encoder not in av.codecs_available]
    state = f"PyAV {av.__version__}, missing encoders: {', '.join(missing) or 'none'}"
    remedy = "Install PyAV's own wheel, which has them: `pip install --force-reinstall av`."
    return checked("audio", not missing, state, remedy)


def check_memory() -> Finding:
    free = free_memory_gib()
    needs = f"Ray with one small replica needs about {NEEDED_MEMORY_GIB:g} GiB"
    remedy = f"{needs}. Close other programs."
    return checked("memory", free >= NEEDED_MEMORY_GIB, f"{free:.1f} GiB free", remedy)


def check_disk(config: AppConfig) -> Finding:
    """Compare the space for downloads with the models of the configuration."""
    home = Path(os.environ.get("HF_HOME", Path.home()))
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free / GIB
    sources = {model.model_loading_config.model_source for model in config.served}
    downloads = sum(source.startswith(_PUBLISHED) for source in sources)
    needed = _PUBLISHED_GIB * downloads or _LEAST_GIB
    state = f"{free:.0f} GiB free at {home}"
    remedy = (
        f"This configuration needs about {needed:g} GiB. "
        "Free some space, or set HF_HOME to a folder on another disk."
    )
    if free >= needed and free < _PUBLISHED_GIB:
        return note("disk", state, f"Published models need {_PUBLISHED_GIB:g} GiB and more each.")
    return checked("disk", free >= needed, state, remedy)
