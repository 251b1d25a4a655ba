"""The CUDA backend: decode steps as Triton kernels, prefills in PyTorch on the same weights."""

import torch

from serve_app.kernels.cuda.compiler import finds_compiler
from serve_app.models.musicgen.cuda_layers import CudaLinear
from serve_app.models.musicgen.cuda_step import CudaStep
from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import Linear

TENSOR_CORES = (8, 0)  # compute capability from which Triton's dot is fast
HEAD_DIM = 64
DTYPES = (torch.float16, torch.bfloat16)


class CudaBackend:
    """Triton kernels for a step; the model's own layers for many positions at once.

    precision: fp16, bf16, int8, or fp32 for tests; processors: streaming multiprocessors of the
    device.
    """

    batch_invariant = True

    def __init__(self, model: MusicGen, precision: str, processors: int) -> None:
        weight = model.embedding.weight
        self.precision = precision
        self._dtype = weight.dtype
        self._device = weight.device
        self._processors = processors

    def prepare(self, model: MusicGen) -> None:
        """Quantize the decoder layers' and the heads' weights to int8, if that is the precision."""
        if self.precision == "int8":
            quantize(model)

    def allocate_cache(self, config: MusicGenConfig, slots: int, max_length: int) -> FloatKVCache:
        rows = config.conditioning.branches
        return FloatKVCache(config.transformer, slots, rows, max_length, self._dtype, self._device)

    def fused_step(self, model: MusicGen, slots: int, max_length: int) -> CudaStep:
        return CudaStep(model, slots, max_length, self._processors)


def quantize(model: MusicGen) -> None:
    """Replace each Linear by a CudaLinear."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Linear):
                setattr(module, name, CudaLinear(child))


def cuda_backend(model: MusicGen, precision: str) -> CudaBackend:
    """Return the backend of a model on a GPU."""
    properties = torch.cuda.get_device_properties(model.embedding.weight.device)
    return CudaBackend(model, precision, properties.multi_processor_count)


def why_unsupported(model: MusicGen) -> str | None:
    """Return the reason why the kernels cannot run a model on its device, None if they can."""
    weight = model.embedding.weight
    if weight.device.type != "cuda":
        return f"the device is {weight.device.type}, not a GPU"
    capability = torch.cuda.get_device_capability(weight.device)
    if capability < TENSOR_CORES:
        return f"the GPU's compute capability is {capability[0]}.{capability[1]}, below 8.0"
    if weight.dtype not in DTYPES:
        return f"the weights are loaded in {weight.dtype}, not in fp16 or bf16"
    if (head_dim := model.config.transformer.head_dim) != HEAD_DIM:
        return f"the model's heads have {head_dim} dimensions, not {HEAD_DIM}"
    if not finds_compiler():
        return "Triton finds no C compiler: install gcc and libc6-dev, or set CC"
    return None
