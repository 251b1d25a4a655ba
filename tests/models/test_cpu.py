"""What a CPU is fitted with computes what it stands for, and every row for itself."""

import copy
from typing import Any

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from serve_app.kernels.cpu.functions import erf, exp
from serve_app.kernels.cpu.intrinsics import OFFSET, ROW_TYPE, STRIDE, TILE, dot_tile
from serve_app.kernels.cpu.layer import pack, unpack
from serve_app.models.encodec.seanet import ConvTranspose1d, EncodecConfig, SkipLSTM
from serve_app.models.musicgen.cpu_kv_cache import CpuKVCache
from serve_app.models.musicgen.cpu_layers import MANY_ROWS, CpuDecoderLayer, CpuLinear
from serve_app.models.musicgen.kv_cache import ROWS, FloatKVCache, KVCache
from serve_app.models.musicgen.transformer import DecoderLayer, Linear, TransformerConfig

ERRORS = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 5e-3, "int8": 2e-2}  # relative, of a product
SLOTS, TOKENS, LENGTH = 2, 5, 8


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
def test_what_is_not_finite_stays_so(precision: str) -> None:
    layer = CpuLinear(Linear(16, 8, bias=False).requires_grad_(False), precision)
    x = torch.ones(2, 16)
    x[0, 3] = torch.nan
    assert layer(x)[0].isnan().all()
    assert layer(x)[1].isfinite().all()


def test_a_layer_that_is_not_made_of_whole_tiles_is_refused() -> None:
    with pytest.raises(ValueError, match="24 x 6"):
        CpuLinear(Linear(24, 6), "fp32")


@numba.njit  # type: ignore[untyped-decorator]
def dots(rows: NDArray[Any], codes: NDArray[np.uint8]) -> tuple[int, ...]:
    return dot_tile(rows, 0, 1, codes, 0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("row_type", sorted({np.int16, ROW_TYPE}, key=str))
def test_any_processor_computes_the_same_sums(row_type: type[np.integer[Any]]) -> None:
    """Exactly: they are of whole numbers. 100 inputs fill no whole stride."""
    rng = np.random.default_rng(0)
    x, weight = (rng.integers(-127, 128, size=(n, 100)) for n in (2, TILE))
    codes = pack(weight.astype(np.int8))
    assert np.array_equal(unpack(codes, 100), weight)
    rows = np.zeros((2, codes.shape[1] * STRIDE), row_type)
    rows[:, :100] = x
    assert dots(rows, codes) == tuple(
        (x @ weight.T + OFFSET * x.sum(axis=1, keepdims=True)).ravel()
    )


@numba.njit  # type: ignore[untyped-decorator]
def functions(x: NDArray[np.float32]) -> tuple[list[float], list[float]]:
    return [exp(-abs(value)) for value in x], [erf(value) for value in x]


def test_functions() -> None:
    x = np.concatenate(
        [np.linspace(-9, 9, 10_001), [0, 86.9, -100, np.inf, -np.inf, np.nan]]
    ).astype(np.float32)
    of_exp, of_erf = functions(x)
    np.testing.assert_allclose(of_exp, np.exp(-np.abs(x.astype(np.float64))), rtol=5e-7, atol=1e-37)
    np.testing.assert_allclose(of_erf, torch.erf(torch.from_numpy(x)), rtol=0, atol=5e-7)


def run(
    layer: nn.Module, cache: KVCache, x: Tensor, rows: int, text: tuple[Tensor, Tensor]
) -> Tensor:
    """Two positions of each slot, the first of which nothing is behind; the texts are of 5 and 3 tokens."""
    text_mask = torch.zeros(SLOTS, 1, 1, TOKENS)
    text_mask[1, ..., 3:] = -torch.inf
    for position in range(2):
        at = torch.arange(SLOTS), torch.full((SLOTS,), position)
        mask = torch.zeros(SLOTS, 1, 1, LENGTH).index_fill_(
            3, torch.arange(position + 1, LENGTH), -torch.inf
        )
        [memory] = cache.narrow(slice(0, SLOTS), rows, LENGTH)
        y: Tensor = layer(x + position, memory, at, mask, text, text_mask)
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
        FloatKVCache(config, SLOTS, LENGTH, torch.float32, torch.device("cpu")),
        x,
        rows,
        text,
    )
    cache = CpuKVCache(config, SLOTS, LENGTH, narrow=precision == "int8")
    ours = run(CpuDecoderLayer(layer), cache, x, rows, text)
    assert (ours - expected).norm() < {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.05}[
        precision
    ] * expected.norm()


@pytest.mark.parametrize("batch", [1, 2])
def test_a_large_lstm_computes_the_same(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lstm = SkipLSTM(64, 2).requires_grad_(False)
    x = torch.randn(batch, 64, 30)
    expected, (hidden, cell) = lstm(x)
    monkeypatch.setattr("serve_app.models.encodec.seanet._LARGE", 0)
    first, state = lstm(x[..., :11])
    second, ours = lstm(x[..., 11:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=-1), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, (hidden, cell), atol=1e-5, rtol=0)


@pytest.mark.parametrize("with_onednn", [True, False])
@pytest.mark.parametrize(("channels", "ratio"), [(32, 5), (4, 8)])
def test_a_large_upsampling_computes_the_same(
    channels: int, ratio: int, with_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EncodecConfig(32_000, 1, 4, 16, 8, 4, 1, (ratio,))
    layer = ConvTranspose1d(config, channels, channels // 2, ratio).requires_grad_(False)
    x = torch.randn(2, channels, 13)
    expected = F.conv_transpose1d(x, layer.weight, layer.bias, stride=ratio)[
        ..., layer.trim_left :
    ][..., : 13 * ratio]
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)
    monkeypatch.setattr("serve_app.models.encodec.seanet._MANY", 0)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: with_onednn)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)
