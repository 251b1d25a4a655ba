"""Tests of the precision benchmark: narrow weights keep the model's distributions."""

import pytest
import torch

from benchmarks.precision import PROMPTS, compare, distributions, fitted
from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.models.musicgen import cpu
from serve_app.models.musicgen.cpu import is_fitted, precision_of


@pytest.mark.parametrize(
    ("precision", "most", "least"),
    [("fp16", 1e-5, 0.995), ("bf16", 1e-3, 0.98), ("int8", 0.005, 0.97)],
)
def test_narrow_weights_keep_the_distributions(
    nano: Checkpoint, precision: str, most: float, least: float
) -> None:
    """Bound the KL divergence from above and the agreement of the likeliest codes from below."""
    assert precision_of(fitted(nano, precision).musicgen) == precision
    assert not is_fitted(nano.musicgen)
    divergence, agreement = compare(nano, precision)
    assert divergence < most
    assert agreement > least


def test_fp32_kernels_are_exact(nano: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_fitted(fitted(nano, "fp32").musicgen), "a small model keeps PyTorch's layers"
    exact, codes = distributions(nano, PROMPTS[0])
    monkeypatch.setattr(cpu, "LARGE", 0)
    large = fitted(nano, "fp32")
    assert is_fitted(large.musicgen)
    ours, our_codes = distributions(large, PROMPTS[0])
    torch.testing.assert_close(ours.exp(), exact.exp(), atol=1e-4, rtol=0)
    assert torch.equal(our_codes, codes)
