"""SEANet's residual block by six products or by four, against PyTorch's convolutions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from serve_app.kernels.cpu.compilation import Floats
from serve_app.kernels.cpu.float_tile import pack_panels
from serve_app.kernels.cpu.residual import (
    residual_block,
    residual_block_of_three,
    transform_taps,
)

CHANNELS, MIDDLE = 64, 32
TAPS = 3


def random(*shape: int) -> Floats:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def by_rows(weight: Floats) -> Floats:
    return np.ascontiguousarray(weight.swapaxes(1, 2)).reshape(len(weight), -1)


@pytest.mark.parametrize("frames", [2, 7, 700])
@pytest.mark.parametrize("before", [1, 2], ids=["centred", "causal"])
@pytest.mark.parametrize("mirrors", [False, True])
def test_both_equal_pytorchs(frames: int, before: int, mirrors: bool) -> None:
    """Of an odd and an even number of frames, and of more than one block."""
    mirrored = max(frames, before + 1) if mirrors else 0
    x = random(frames, CHANNELS)
    weight = random(MIDDLE, CHANNELS, TAPS) / np.float32(TAPS * CHANNELS) ** np.float32(0.5)
    bias = random(MIDDLE)
    second = random(CHANNELS, MIDDLE) / np.float32(MIDDLE) ** np.float32(0.5)
    second_bias = random(CHANNELS)
    after = (pack_panels(second), second_bias)
    six = np.empty_like(x)
    residual_block(x, TAPS, before, mirrored, pack_panels(by_rows(weight)), bias, *after, six)
    four = np.empty_like(x)
    taps = np.concatenate([pack_panels(part) for part in transform_taps(weight)])
    residual_block_of_three(x, before, mirrored, taps, bias, *after, four)

    exact = torch.from_numpy(x.T.copy()).double()
    missing = max(0, mirrored - frames)
    extended = F.pad(F.elu(exact), (0, missing))
    mode = "reflect" if mirrors else "constant"
    padded = F.pad(extended[None], (before, TAPS - 1 - before), mode)
    padded = padded[..., : frames + TAPS - 1]
    y = F.conv1d(padded, torch.from_numpy(weight).double(), torch.from_numpy(bias).double())
    y = F.conv1d(
        F.elu(y),
        torch.from_numpy(second).double()[:, :, None],
        torch.from_numpy(second_bias).double(),
    )
    expected = (exact + y[0]).T.numpy()
    np.testing.assert_allclose(six, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(four, expected, rtol=0, atol=2e-5)
