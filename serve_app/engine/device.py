"""Device, precision and CPU threads of an engine."""

import os

import torch

from serve_app.config.app import EngineConfig
from serve_app.errors import ConfigError

_DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.float16,
}


def resolve_device(config: EngineConfig) -> torch.device:
    """Return the device to use; `auto` is a GPU if one is available."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def resolve_precision(config: EngineConfig, device: torch.device) -> str:
    """Return the precision of the weights.

    `auto` is fp16 on a GPU, as in AudioCraft, and fp32 on a CPU.
    Raises ConfigError if the GPU does not support the precision.
    """
    if (
        config.precision == "bf16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(False)
    ):
        raise ConfigError(
            f"{torch.cuda.get_device_name(device)} does not support bf16: set "
            "precision to fp16 or auto"
        )
    if config.precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    return config.precision


def loading_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype to load weights in.

    CPU weights are loaded in fp32 and narrowed by `prepare_model`. A GPU quantizes fp16 weights.
    """
    return _DTYPES[precision] if device.type == "cuda" else torch.float32


def available_threads() -> int:
    """Return the threads of this process: OMP_NUM_THREADS, or else its cores.

    Ray sets OMP_NUM_THREADS to a replica's num_cpus.
    """
    return int(os.environ.get("OMP_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))
