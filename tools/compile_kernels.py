"""Fill Triton's cache with the kernels of the published models, for GPUs that are not there.

TRITON_CACHE_DIR=/home/ray/kernels python -m tools.compile_kernels

The image is built with it, so that a replica's first start compiles none. A step of one layer runs
in each model's shape, in fp16, with all launches compiled and none executed: by Triton's own path of
a launch, so that the cache's keys are those of a launch on the card. The cache names its files by
their absolute paths: it must stay where it was filled.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from serve_app.engine.drawing import kernel_draw
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.kernels.cuda.compilation import overlap
from serve_app.models.musicgen.cuda_backend import CudaBackend
from serve_app.models.musicgen.execution import ExecutionBackend, TorchBackend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig

T4 = 75  # compute capability of a T4: kernels without `tl.dot` only
# Streaming multiprocessors by compute capability; a product's parts depend on them.
PROCESSORS = {
    T4: (40,),
    80: (108,),  # A100
    86: (80,),  # A10G
    89: (58, 142),  # L4, L40S
    90: (114, 132),  # H100 PCIe; H100, H200
}
WIDTHS = {"small": 1024, "medium": 1536, "large": 2048}
# A product has kernels for up to 2, 4, 8, 16, 32 and more rows; the draw has them by alignment.
SLOTS = (1, 2, 3, 8, 16, 32)
HEAD_DIM = 64
WINDOW_FRAMES = 1500
PROMPT_TOKENS = 256
LENGTHS = (256, 1536)


class AbsentGPU:
    """A driver of Triton for a GPU of a compute capability. It compiles, and launches nothing."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    def get_current_device(self) -> int:
        return self._capability

    def get_current_stream(self, _: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._capability, 32)


@contextmanager
def compiling(capability: int) -> Iterator[None]:
    """Compile what is launched on CPU tensors for a GPU, as a launch there would."""
    launch = JITFunction.run

    def compile_only(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        if "PREFETCH" in kwargs:
            kwargs["PREFETCH"] = kwargs["NORM"]  # as for weights on a GPU
        if "DEPENDENT" in kwargs:
            kwargs |= overlap(divmod(capability, 10))
        return launch(kernel, *args, **(kwargs | {"warmup": True}))

    triton.runtime.driver.set_active(AbsentGPU(capability))
    try:
        with patch.object(JITFunction, "run", compile_only):
            yield
    finally:
        triton.runtime.driver._active = None  # unlike reset_active, this asks for no GPU


def compile_model(capability: int, processors: int, width: int, slots: tuple[int, ...]) -> None:
    """Compile the kernels of steps of a model `width` wide, with up to so many slots."""
    transformer = TransformerConfig(width, 1, width // HEAD_DIM, 4 * width)
    model = MusicGen(MusicGenConfig(transformer, 4, 2048, (0, 1, 2, 3), 1, 768)).half()
    backend: ExecutionBackend = CudaBackend(model, "fp16", processors)
    if capability == T4:
        backend = TorchBackend(model.embedding.weight, attention_kernel=True)
    for many in slots:
        draw = kernel_draw(many, torch.device("cpu"))
        runner = ModelRunner(model, backend, many, WINDOW_FRAMES, PROMPT_TOKENS, draw)
        with compiling(capability):
            for length in LENGTHS:
                for guided in (True, False):
                    runner.step(BatchShape(many, length, 64, guided=guided))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.compile_kernels")
    parser.add_argument("--capabilities", type=int, nargs="+", default=list(PROCESSORS))
    parser.add_argument("--models", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    arguments = parser.parse_args()
    for capability in arguments.capabilities:
        for processors in PROCESSORS[capability]:
            for model in arguments.models:
                compile_model(capability, processors, WIDTHS[model], SLOTS)
                print(f"{model}: sm_{capability}, {processors} multiprocessors", flush=True)


if __name__ == "__main__":
    main()
