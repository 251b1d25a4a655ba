"""Kernels of a step by a trace: those that the speed model counts."""

import pytest
import torch

from benchmarks.speed_model import load
from benchmarks.step_kernels import FRAMES, TEXT_TOKENS, StepKernels, count_kernels, trace_step
from serve_app.engine.drawing import kernel_draw
from serve_app.engine.model_runner import ModelRunner
from serve_app.models.musicgen.cuda_backend import CudaBackend
from serve_app.models.musicgen.execution import TorchBackend, torch_backend
from serve_app.models.musicgen.model import MusicGen

MODEL, _ = load()
CUDA = torch.device("cuda")
PRODUCT = "aten.mm.default"


def eager(model: MusicGen) -> ModelRunner:
    return ModelRunner(model, torch_backend(model), 1, FRAMES, TEXT_TOKENS)


def without_dot(model: MusicGen) -> ModelRunner:
    backend = TorchBackend(model.embedding.weight, attention_kernel=True)
    return ModelRunner(model, backend, 1, FRAMES, TEXT_TOKENS, kernel_draw(1, CUDA))


def fused(model: MusicGen) -> ModelRunner:
    backend = CudaBackend(model, "fp16", processors=132)
    return ModelRunner(model, backend, 1, FRAMES, TEXT_TOKENS, kernel_draw(1, CUDA))


@pytest.fixture(scope="module")
def traces() -> dict[str, StepKernels]:
    ways = {"eager": eager, "without_dot": without_dot, "fused": fused}
    return {name: trace_step(way) for name, way in ways.items()}


@pytest.mark.parametrize("name", ["eager", "without_dot", "fused"])
def test_the_model_counts_the_kernels_of_the_trace(
    name: str, traces: dict[str, StepKernels]
) -> None:
    traced = traces[name]
    counted = MODEL.kernels[name]
    assert traced.layer.total() == counted.layer, traced.layer
    assert traced.outside.total() == counted.outside, traced.outside
    assert traced.layer[PRODUCT] == counted.layer_products
    assert traced.outside[PRODUCT] == counted.outside_products


def test_a_step_launches_few_kernels(traces: dict[str, StepKernels]) -> None:
    """At most 10 a layer and 12 outside, of which a T4 has the latter."""
    assert traces["fused"].layer.total() <= 10
    assert traces["fused"].outside.total() <= 12
    assert traces["without_dot"].outside.total() <= 12
    assert traces["fused"].outside["draw_kernel"] == 1


def test_views_are_no_kernels_and_divided_operations_are_several() -> None:
    x = torch.ones(4, 4)
    with count_kernels() as kernels:
        y = x.view(16)[2:].view(2, 7).transpose(0, 1)
        y.contiguous()
        x.contiguous()
        x.add_(1)
        x.isfinite()
    assert kernels["aten.clone.default"] == 1
    assert kernels["aten.add_.Tensor"] == 1
    assert kernels.total() > 3
