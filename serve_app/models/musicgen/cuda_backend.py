"""The CUDA backend: decode steps as Triton kernels, prefills in PyTorch on the same weights."""

import torch

from serve_app.kernels.cuda.compiler import finds_compiler
from serve_app.models.musicgen.cuda_layers import CudaLinear
from serve_app.models.musicgen.cuda_step import CudaStep
from serve_app.models.musicgen.int8_kv_cache import Int8KVCache, half_or_int8_cache
from serve_app.models.musicgen.kv_cache import FloatKVCache
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.prefill_rows import prefill_rows
from serve_app.models.musicgen.transformer import Linear

TENSOR_CORES = (8, 0)  # compute capability from which Triton's dot is fast
WITHOUT_DOT = (7, 5)  # from which Triton compiles
HEAD_DIM = 64
ALIGNED = 16  # inputs of a product: rows of weights begin where wide loads can
DTYPES = (torch.float16, torch.bfloat16)


class CudaBackend:
    """Triton kernels for a step; the model's own layers for many positions at once.

    precision: fp16, bf16, int8, or fp32 for tests; processors: streaming multiprocessors of the
    device; int8_cache: store keys and values in int8.
    """

    batch_invariant = True

    def __init__(
        self, model: MusicGen, precision: str, processors: int, int8_cache: bool = False
    ) -> None:
        self.precision = precision
        self._weight = model.embedding.weight
        self.prefill_rows = prefill_rows(self._weight.device)
        self._processors = processors
        self._int8_cache = int8_cache

    def prepare(self, model: MusicGen) -> None:
        """Quantize the decoder layers' and the heads' weights to int8, if that is the precision."""
        if self.precision == "int8":
            quantize(model)

    def allocate_cache(
        self, config: MusicGenConfig, slots: int, max_length: int
    ) -> FloatKVCache | Int8KVCache:
        rows = config.conditioning.branches
        return half_or_int8_cache(
            config.transformer, slots, rows, max_length, self._weight, self._int8_cache
        )

    def fused_step(self, model: MusicGen, slots: int, max_length: int) -> CudaStep:
        return CudaStep(model, slots, max_length, self._processors)


def quantize(model: MusicGen) -> None:
    """Replace each Linear by a CudaLinear."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Linear):
                setattr(module, name, CudaLinear(child))


def cuda_backend(model: MusicGen, precision: str, int8_cache: bool) -> CudaBackend:
    """Return the backend of a model on a GPU."""
    properties = torch.cuda.get_device_properties(model.embedding.weight.device)
    return CudaBackend(model, precision, properties.multi_processor_count, int8_cache)


def why_unsupported(model: MusicGen, capability_needed: tuple[int, int]) -> str | None:
    """Return the reason why kernels cannot run a model on its device, None if they can."""
    weight = model.embedding.weight
    if weight.device.type != "cuda" or torch.version.hip is not None:
        return f"the device ({weight.device.type}) is not an NVIDIA GPU"
    capability = torch.cuda.get_device_capability(weight.device)
    if capability < capability_needed:
        has, needed = (".".join(map(str, of)) for of in (capability, capability_needed))
        return f"the GPU's compute capability is {has}, below {needed}"
    if weight.dtype not in DTYPES:
        return f"the weights are loaded in {weight.dtype}, not in fp16 or bf16"
    if (head_dim := model.config.transformer.head_dim) != HEAD_DIM:
        return f"the model's heads have {head_dim} dimensions, not {HEAD_DIM}"
    if (width := model.config.transformer.ffn_dim) % ALIGNED:
        return f"the feed-forward part's width, {width}, is not a multiple of {ALIGNED}"
    if not finds_compiler():
        return "Triton finds no C compiler: install gcc and libc6-dev, or set CC"
    return None
