"""The CPU backend: the modules that it replaces, and its cache."""

from typing import Literal

import pytest
import torch
from torch import nn

from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.cpu_backend import CpuBackend, optimize_for_cpu
from serve_app.models.musicgen.cpu_layers import CpuLinear
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import DecoderLayer, TransformerConfig

TRANSFORMER = TransformerConfig(hidden_size=64, num_layers=2, num_heads=4, ffn_dim=128)


def new_model(text: ConditioningSpec | None = None) -> MusicGen:
    conditioning = text or ConditioningSpec()
    config = MusicGenConfig(TRANSFORMER, 4, 16, (0, 1, 2, 3), 1, 8, conditioning=conditioning)
    return MusicGen(config).requires_grad_(False)


def test_products_are_replaced_and_the_text_projection_is_not() -> None:
    model = new_model()
    optimize_for_cpu(model, "int8")
    assert isinstance(model.heads, CpuLinear)
    assert model.heads.precision == "int8"
    assert type(model.text_proj) is nn.Linear
    assert model.embedding.weight.dtype == model.out_norm.weight.dtype == torch.float32


@pytest.mark.parametrize("text", ["cross_attention", "prefix"])
def test_every_layer_has_narrow_products(text: Literal["cross_attention", "prefix"]) -> None:
    model = new_model(ConditioningSpec(text=text))
    optimize_for_cpu(model, "int8")
    for layer in model.layers:
        assert isinstance(layer, DecoderLayer)
        assert isinstance(layer.fc1, CpuLinear)
        assert isinstance(layer.self_attn.qkv_proj, CpuLinear)


def test_the_cache_is_narrow_with_int8_weights_or_on_request() -> None:
    config = new_model().config
    exact = CpuBackend("fp16").allocate_cache(config, 2, 4).nbytes
    for backend in (CpuBackend("int8"), CpuBackend("fp16", int8_cache=True)):
        assert backend.allocate_cache(config, 2, 4).nbytes < exact
