"""Memory of a model's fine-tunes, checked before the first of them is loaded."""

import ctypes
from pathlib import Path

import psutil

from serve_app.config.app import EngineConfig
from serve_app.engine.memory import GRAPH_BYTES, free_bytes, slot_bytes, weight_bytes
from serve_app.errors import ConfigError
from serve_app.models.musicgen.model import MusicGen

_GIB = 2**30
_WEIGHT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
_CGROUP = Path("/sys/fs/cgroup")  # of a container


def check_fine_tunes(
    model: MusicGen,
    config: EngineConfig,
    precision: str,
    slots: int,
    max_frames: int,
    fine_tunes: int,
    gpu_share: float = 1.0,
) -> None:
    """Raise ConfigError, with the numbers, unless so many fine-tunes fit beside the loaded model.

    slots: of each checkpoint, of which those of the model are not allocated yet.
    """
    device = model.embedding.weight.device
    int8_cache = config.kv_cache == "int8" or (device.type == "cpu" and precision == "int8")
    caches = slots * slot_bytes(model, max_frames, config.max_prompt_tokens, int8_cache)
    weights = model.num_parameters * _WEIGHT_BYTES[precision]
    graphs = config.max_graphs * GRAPH_BYTES if device.type == "cuda" else 0
    loaded = weight_bytes(model)
    narrowed = loaded if weights < loaded else 0  # of one at a time, before it is narrowed
    needed = fine_tunes * (weights + graphs + caches) + caches + narrowed
    free = free_bytes(device, gpu_share) if device.type == "cuda" else _free_memory()
    if needed > free:
        raise ConfigError(
            f"{fine_tunes} fine-tunes in memory need {needed / _GIB:.2f} GiB beside the model, each "
            f"{weights / _GIB:.2f} for weights and {caches / _GIB:.2f} for {slots} slots, but "
            f"{free / _GIB:.2f} GiB are free: lower fine_tunes.max_resident, "
            "engine_kwargs.max_slots or engine_kwargs.max_duration_s, or take a larger machine"
        )


def return_free_memory() -> None:
    """Give the C library's free memory back to the system: after a load gigabytes of tensors.

    Has no effect but with glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _free_memory() -> int:
    """Return the memory that this process can still take: of the machine, or of its container."""
    return_free_memory()
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return min(free, limit - used)
