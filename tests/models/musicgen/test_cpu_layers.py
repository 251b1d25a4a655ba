"""The CPU's layers compute the same as PyTorch's, and every row by itself."""

import copy

import pytest
import torch
from torch import Tensor, nn

from serve_app.models.musicgen.cpu_kv_cache import CpuKVCache
from serve_app.models.musicgen.cpu_layers import MANY_ROWS, CpuDecoderLayer, CpuLinear
from serve_app.models.musicgen.kv_cache import FloatKVCache, KVCache
from serve_app.models.musicgen.transformer import (
    CrossAttentionInputs,
    DecoderLayer,
    Linear,
    TransformerConfig,
)

ERRORS = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 5e-3, "int8": 2e-2}  # relative, of a product
SLOTS, ROWS, TOKENS, LENGTH = 2, 2, 5, 8


@pytest.mark.parametrize("rows", [1, 4, MANY_ROWS, MANY_ROWS + 1])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("precision", ERRORS)
def test_a_product_is_near_the_exact_one(precision: str, bias: bool, rows: int) -> None:
    exact = Linear(256, 96, bias=bias).requires_grad_(False)
    x = torch.randn(rows, 256) * torch.logspace(-3, 2, rows)[:, None]
    x[-1] = 0
    expected = exact(x)
    error = (CpuLinear(exact, precision)(x) - expected).norm(dim=1)
    assert (error <= ERRORS[precision] * expected.norm(dim=1)).all()


@pytest.mark.parametrize("precision", ERRORS)
def test_a_row_does_not_depend_on_the_others(precision: str) -> None:
    layer = CpuLinear(Linear(256, 96, bias=False).requires_grad_(False), precision)
    x = torch.randn(7, 256) * torch.logspace(-3, 3, 7)[:, None]
    together = layer(x)
    for row in range(7):
        assert torch.equal(layer(x[row : row + 1])[0], together[row])
        assert torch.equal(layer(x[row:])[0], together[row])


@pytest.mark.parametrize("precision", ERRORS)
def test_a_row_with_nan_stays_nan(precision: str) -> None:
    layer = CpuLinear(Linear(16, 8, bias=False).requires_grad_(False), precision)
    x = torch.ones(2, 16)
    x[0, 3] = torch.nan
    assert layer(x)[0].isnan().all()
    assert layer(x)[1].isfinite().all()


def test_a_layer_that_is_not_made_of_whole_tiles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6 outputs \(24 inputs\)"):
        CpuLinear(Linear(24, 6), "fp32")


def run(
    layer: nn.Module, cache: KVCache, x: Tensor, rows: int, text: tuple[Tensor, Tensor]
) -> Tensor:
    """Run two positions of each slot, from an empty cache; the texts have 5 and 3 tokens."""
    text_mask = torch.zeros(SLOTS, 1, 1, TOKENS)
    text_mask[1, ..., 3:] = -torch.inf
    for position in range(2):
        at = torch.arange(SLOTS), torch.full((SLOTS,), position)
        mask = torch.zeros(SLOTS, 1, 1, LENGTH).index_fill_(
            3, torch.arange(position + 1, LENGTH), -torch.inf
        )
        [memory] = cache.narrow(slice(0, SLOTS), rows, LENGTH)
        y: Tensor = layer(x + position, memory, at, mask, CrossAttentionInputs(*text, text_mask))
    return y[: SLOTS * rows]


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_layer_computes_the_same(precision: str, biases: bool, rows: int, padding: int) -> None:
    config = TransformerConfig(64, 1, 4, 256, bias_attention=biases, bias_ffn=biases)
    exact = DecoderLayer(config).requires_grad_(False)
    for norm in (exact.self_attn_norm, exact.cross_attn_norm, exact.ffn_norm):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    layer = copy.deepcopy(exact)
    for module in list(layer.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Linear):
                setattr(module, name, CpuLinear(child, precision))
    x = torch.randn((SLOTS + padding) * rows, 64)
    text = torch.randn(SLOTS, 4, TOKENS, 16), torch.randn(SLOTS, 4, TOKENS, 16)
    expected = run(
        exact,
        FloatKVCache(config, SLOTS, ROWS, LENGTH, torch.float32, torch.device("cpu")),
        x,
        rows,
        text,
    )
    cache = CpuKVCache(config, SLOTS, ROWS, LENGTH, narrow=precision == "int8")
    assert layer.cross_attn is not None
    ours = run(CpuDecoderLayer(layer, layer.cross_attn), cache, x, rows, text)
    assert (ours - expected).norm() < {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.05}[
        precision
    ] * expected.norm()
