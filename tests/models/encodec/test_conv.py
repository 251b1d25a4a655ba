"""The faster convolutions on a CPU give the same results as PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from serve_app.models.encodec import conv
from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d


def config(pad_mode: str = "reflect", causal: bool = False) -> EncodecConfig:
    return EncodecConfig(32_000, 1, 4, 16, 8, 4, 1, (5, 4), causal=causal, pad_mode=pad_mode)


@pytest.mark.parametrize("outputs", [1, 12])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("length", [3, 40])
def test_a_convolution_pads_as_the_plain_one(
    length: int, pad_mode: str, causal: bool, outputs: int
) -> None:
    layer = Conv1d(config(pad_mode, causal), 6, outputs, 7).requires_grad_(False)
    x = torch.randn(2, 6, length)
    left, right = (6, 0) if causal else (3, 3)
    missing = max(0, left - length + 1) if pad_mode == "reflect" else 0
    padded = F.pad(F.pad(x, (0, missing)), (left, right), pad_mode)
    padded = padded[..., : padded.shape[-1] - missing]
    expected = F.conv1d(padded, layer.weight, layer.bias)
    assert expected.shape[-1] == length
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [20, 21, 24])
def test_a_stride_rounds_up(length: int) -> None:
    layer = Conv1d(config(), 6, 8, 10, stride=5).requires_grad_(False)
    assert layer(torch.randn(1, 6, length)).shape == (1, 8, -(-length // 5))


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("ratio", [5, 8])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_an_upsampling_equals_the_plain_one(
    length: int, ratio: int, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv, "_MANY_FILTERS", 0 if kernels else 64)
    layer = ConvTranspose1d(config(), 64, 32, ratio).requires_grad_(False)
    assert (layer.kernel is not None) == kernels
    x = torch.randn(2, 64, length)
    y = F.conv_transpose1d(F.elu(x), layer.weight, layer.bias, stride=ratio)
    expected = y[..., layer.trim_left :][..., : length * ratio]
    torch.testing.assert_close(layer(x, activate=True), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(7, 1, 1), (8, 4, 1), (3, 1, 2)])
@pytest.mark.parametrize("outputs", [1, 2, 12, 32, 64])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant", "replicate"])
@pytest.mark.parametrize("length", [2, 3, 41])
def test_a_convolution_on_kernels_equals_the_plain_one(
    length: int, pad_mode: str, causal: bool, outputs: int, kernel_size: int, stride: int,
    dilation: int, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sizes = (6, outputs, kernel_size)
    plain = Conv1d(config(pad_mode, causal), *sizes, stride=stride, dilation=dilation)
    monkeypatch.setattr(conv, "_MANY_FILTERS", 0)
    layer = Conv1d(config(pad_mode, causal), *sizes, stride=stride, dilation=dilation)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, length)
    expected = plain(F.elu(x))
    assert plain.kernel is None
    plain_only = dilation > 1 or outputs == 12 or outputs <= 2 < stride
    assert (layer.kernel is None) == (plain_only or pad_mode == "replicate")
    torch.testing.assert_close(layer(x, activate=True), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(x), plain(x), atol=1e-5, rtol=0)
