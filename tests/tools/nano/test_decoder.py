"""Tests of the training of the codec's decoder alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tools.nano.test_codec import write_small
from tools.nano import decoder


def loud(step: int) -> Tensor:
    """Noise near full scale, the same at each step: [2, 1, 8000]"""
    del step
    return 0.9 * torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(0)).tanh()


def test_targets_stay_below_the_ceiling_and_quiet_music_keeps_its_form() -> None:
    x = torch.linspace(-1, 1, 201)
    y = decoder.limited(x)
    assert y.abs().max() < decoder.CEILING
    assert (y.diff() > 0).all()
    quiet = x.abs() < 0.2
    torch.testing.assert_close(y[quiet], decoder.GAIN * x[quiet], rtol=1e-3, atol=0)


def test_only_what_is_beyond_the_peak_is_penalized() -> None:
    y = torch.tensor([[[0.5, -decoder.PEAK, 0.0]], [[1.0, -1.0, 0.0]]])
    assert decoder.overshoot(y) == pytest.approx(1 - decoder.PEAK)


def test_peaks_fall_and_codes_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = write_small(tmp_path)
    with torch.no_grad():
        before = codec.encode(loud(0)).audio_codes
        peak = codec.decode(before, [None]).audio_values.abs().max()
        last = codec.decoder.layers[-1].conv
        last.parametrizations.weight.original0.mul_(1.0 / peak)
        last.bias.mul_(1.0 / peak)
        clipped = decoder.overshoot(codec.decode(before, [None]).audio_values)
    assert clipped > 1
    file = tmp_path / "decoder.pt"
    decoder.train(codec, file, loud, 40)
    with torch.no_grad():
        codes = codec.encode(loud(0)).audio_codes
        assert torch.equal(codes, before)
        assert decoder.overshoot(codec.decode(codes, [None]).audio_values) < 0.5 * clipped
    assert torch.load(file, weights_only=True)["step"] == 40
