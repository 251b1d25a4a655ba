"""Device, precision and CPU threads of an engine, and failures of the device."""

import os

import torch

from serve_app.config.app import EngineConfig
from serve_app.cpus import usable_cpus
from serve_app.errors import ConfigError

# Text of the RuntimeErrors by which libraries report a CUDA error, where PyTorch has no class for it.
_CUDA_ERRORS = (
    "CUDA error",
    "CUDA driver error",
    "CUDNN_STATUS_",
    "CUBLAS_STATUS_",
    "Triton Error [CUDA]",
)
_OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
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
    Raises ConfigError for bf16 on a GPU that does not support it.
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
    return int(os.environ.get("OMP_NUM_THREADS", 0)) or usable_cpus()


def configure_device(device: torch.device) -> None:
    """Set PyTorch's options of a GPU for the whole process. Has no effect on a CPU.

    cuDNN's attention is off: it plans anew for each shape, which stalls prefills and captures, and
    its results may depend on the cache's length. TF32 is off, and convolutions use deterministic
    algorithms only: the codec's audio is then the same in chunks of any length, and each time.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def is_device_failure(error: Exception, device: torch.device) -> bool:
    """Return whether `error` leaves the device unusable for the whole process.

    After a CUDA error, such as a device-side assertion, each later call fails. Too little memory for
    PyTorch's allocator is no such error; where CUDA itself or a library runs out of it, the replica
    is replaced.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _CUDA_ERRORS):
        return True
    return device.type == "cuda" and not _responds(device)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether `error` tells of too little memory: PyTorch's allocator, CUDA or a library."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def _responds(device: torch.device) -> bool:
    """Wait for the calling thread's stream; return whether its work succeeded."""
    try:
        torch.cuda.current_stream(device).synchronize()
    except RuntimeError:
        return False
    return True
