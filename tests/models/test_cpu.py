"""The CPU kernels, and the codec's layers on them, compute what they stand for."""

from typing import Any

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from serve_app.kernels.cpu.functions import erf, exp
from serve_app.kernels.cpu.intrinsics import OFFSET, ROW_TYPE, STRIDE, TILE, dot_tile
from serve_app.kernels.cpu.layer import pack, unpack
from serve_app.models.encodec.seanet import ConvTranspose1d, EncodecConfig, SkipLSTM


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
