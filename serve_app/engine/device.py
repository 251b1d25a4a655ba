"""Where an engine computes, and in which numbers."""

import os

import torch

from serve_app.config import EngineConfig
from serve_app.errors import ConfigError

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def resolve_device(config: EngineConfig) -> torch.device:
    """`auto` is a GPU where there is one."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def resolve_precision(config: EngineConfig, device: torch.device) -> str:
    """`auto` is fp16 on a GPU, as AudioCraft runs the published models, and fp32 on a CPU. Raises ConfigError where the
    GPU lacks what is asked for."""
    if (
        config.precision == "bf16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(False)
    ):
        raise ConfigError(
            f"{torch.cuda.get_device_name(device)} has no bf16: set precision to fp16, or to auto"
        )
    if config.precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    return config.precision


def loading_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What a GPU computes with; on a CPU fp32, from which `optimize_for_cpu` makes what the weights are stored as."""
    return _DTYPES[precision] if device.type == "cuda" else torch.float32


def available_threads() -> int:
    """What OMP_NUM_THREADS grants (Ray sets it to a replica's num_cpus), or else the cores this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))
