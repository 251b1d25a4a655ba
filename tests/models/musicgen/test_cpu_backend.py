"""The CPU backend: the modules that it replaces, its cache, and the results of a prepared model."""

import copy

import pytest
import torch
from torch import Tensor, nn

from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.cpu_backend import CpuBackend, optimize_for_cpu
from serve_app.models.musicgen.cpu_layers import CpuDecoderLayer, CpuLinear
from serve_app.models.musicgen.execution import ExecutionBackend, torch_backend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import (
    CrossAttentionInputs,
    DecoderLayer,
    TransformerConfig,
    causal_masks,
)

TRANSFORMER = TransformerConfig(hidden_size=64, num_layers=2, num_heads=4, ffn_dim=128)
SLOTS, LENGTH, TOKENS = 2, 4, 3
CPU = torch.device("cpu")


def new_model(text: ConditioningSpec | None = None) -> MusicGen:
    conditioning = text or ConditioningSpec()
    config = MusicGenConfig(TRANSFORMER, 4, 16, (0, 1, 2, 3), 1, 8, conditioning=conditioning)
    return MusicGen(config).requires_grad_(False)


def test_layers_and_heads_are_replaced_and_the_text_projection_is_not() -> None:
    model = new_model()
    optimize_for_cpu(model, "int8")
    assert all(isinstance(layer, CpuDecoderLayer) for layer in model.layers)
    assert isinstance(model.heads, CpuLinear)
    assert model.heads.precision == "int8"
    assert type(model.text_proj) is nn.Linear
    assert model.embedding.weight.dtype == model.out_norm.weight.dtype == torch.float32


def test_a_layer_without_cross_attention_has_narrow_products() -> None:
    model = new_model(ConditioningSpec(text="prefix"))
    optimize_for_cpu(model, "int8")
    for layer in model.layers:
        assert isinstance(layer, DecoderLayer)
        assert isinstance(layer.fc1, CpuLinear)
        assert isinstance(layer.self_attn.qkv_proj, CpuLinear)


def run(model: MusicGen, backend: ExecutionBackend, cross: CrossAttentionInputs) -> Tensor:
    """Logits [SLOTS, rows, K, V] of two steps' last position."""
    cache = backend.allocate_cache(model.config, SLOTS, LENGTH)
    rng = torch.Generator().manual_seed(3)
    for position in range(2):
        x = torch.randn(SLOTS, 1, 64, generator=rng)
        at = torch.arange(SLOTS), torch.full((SLOTS,), position)
        mask = causal_masks(LENGTH, torch.float32, CPU)[at[1]][:, None, None]
        layers = cache.narrow(slice(0, SLOTS), 2, LENGTH)
        hidden_states = model(x, torch.zeros(SLOTS, 64), at, layers, mask, cross)
    return model.logits(hidden_states).view(SLOTS, 2, 4, 16)


@pytest.mark.parametrize(
    ("precision", "int8_cache", "error"),
    [
        ("fp32", False, 1e-5),
        ("fp16", False, 2e-3),
        ("int8", False, 0.05),
        pytest.param("fp16", True, 0.05, marks=pytest.mark.long),  # compiles for 20 s
    ],
)
@torch.inference_mode()
def test_a_prepared_model_computes_the_same(precision: str, int8_cache: bool, error: float) -> None:
    model = new_model()
    prepared = copy.deepcopy(model)
    backend = CpuBackend(precision, int8_cache)
    backend.prepare(prepared)
    text = torch.randn(2, 2, SLOTS, 4, TOKENS, 16)
    cross = CrossAttentionInputs(text[0], text[1], torch.zeros(SLOTS, 1, 1, TOKENS))
    expected = run(model, torch_backend(model), cross)
    assert (run(prepared, backend, cross) - expected).norm() < error * expected.norm()


@torch.inference_mode()
def test_a_prepared_layer_with_cross_attention_needs_a_text() -> None:
    model = new_model()
    backend = CpuBackend("fp32")
    backend.prepare(model)
    at = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    layers = backend.allocate_cache(model.config, 1, LENGTH).narrow(slice(0, 1), 2, LENGTH)
    mask = torch.zeros(1, 1, 1, LENGTH)
    with pytest.raises(ValueError, match="run without a text"):
        model(torch.randn(1, 1, 64), torch.zeros(1, 64), at, layers, mask, None)
