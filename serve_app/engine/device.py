"""Where an engine computes, and in which numbers."""

import os

import torch

from serve_app.config import EngineConfig

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def resolve_device(config: EngineConfig) -> torch.device:
    """`auto` is a GPU where there is one."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def resolve_dtype(config: EngineConfig, device: torch.device) -> torch.dtype:
    """`auto` is fp16 on a GPU, as AudioCraft runs the published models, and fp32 on a CPU."""
    if config.precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return DTYPES[config.precision]


def available_threads() -> int:
    """What OMP_NUM_THREADS grants (Ray sets it to a replica's num_cpus), or else the cores this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))
