"""Resampling keeps what both rates hold, and looks exactly as far as it says."""

import math

import pytest
import torch
from torch import Tensor

from serve_app.models.audioseal.resample import Resample

RATES = [(32_000, 16_000), (16_000, 32_000), (44_100, 16_000), (16_000, 24_000), (8_000, 16_000)]


def sine(rate: int, frequency: float, samples: int) -> Tensor:
    return torch.sin(torch.arange(samples) / rate * frequency * 2 * math.pi)[None, None]


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_a_tone_that_both_rates_hold_is_kept(rate_in: int, rate_out: int) -> None:
    made = Resample(rate_in, rate_out)(sine(rate_in, 1000.0, rate_in // 4))
    expected = sine(rate_out, 1000.0, made.shape[-1])
    inner = slice(rate_out // 100, -rate_out // 100)  # beyond the ends there is silence
    torch.testing.assert_close(made[..., inner], expected[..., inner], rtol=0, atol=2e-3)


def test_a_tone_above_the_lower_rate_is_removed() -> None:
    made = Resample(32_000, 16_000)(sine(32_000, 10_000.0, 8_000))
    assert made[..., 100:-100].abs().max() < 0.01


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_outputs_depend_on_the_inputs_that_are_told(rate_in: int, rate_out: int) -> None:
    layer = Resample(rate_in, rate_out)
    audio = torch.randn(1, 1, 12 * layer.step)
    x = audio.requires_grad_()
    first = 5 * layer.scale
    last = 6 * layer.scale - 1
    layer(x)[..., first : last + 1].square().sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero().flatten()
    earliest, latest = layer.inputs_of(first, last)
    assert earliest <= touched.min()
    assert touched.max() <= latest
