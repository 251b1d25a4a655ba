"""Tests of the precision benchmark: narrow weights keep the model's distributions."""

import pytest
import torch

from benchmarks.precision import PROMPTS, compare, distributions, narrowed
from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.models.musicgen import execution
from serve_app.models.musicgen.execution import torch_backend


@pytest.mark.parametrize(
    ("precision", "most", "least"),
    [("fp16", 1e-5, 0.995), ("bf16", 1e-3, 0.98), ("int8", 0.005, 0.97)],
)
def test_narrow_weights_keep_the_distributions(
    nano: Checkpoint, precision: str, most: float, least: float
) -> None:
    """Bound the KL divergence from above and the agreement of the likeliest codes from below."""
    assert narrowed(nano, precision)[1].precision == precision
    divergence, agreement = compare(nano, precision)
    assert divergence < most
    assert agreement > least


def test_8_bit_keys_and_values_keep_the_distributions(nano: Checkpoint) -> None:
    divergence, agreement = compare(nano, "fp32", "int8")
    assert 1e-7 < divergence < 1e-4, "the cache is narrow"
    assert agreement > 0.99


def test_fp32_kernels_are_exact(nano: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "CACHED_WEIGHTS", 2**40)
    assert not narrowed(nano, "fp32")[1].batch_invariant, "a small model keeps PyTorch's layers"
    exact, codes = distributions(nano, torch_backend(nano.musicgen), PROMPTS[0])
    monkeypatch.setattr(execution, "CACHED_WEIGHTS", 0)
    large, backend = narrowed(nano, "fp32")
    assert backend.batch_invariant
    ours, our_codes = distributions(large, backend, PROMPTS[0])
    torch.testing.assert_close(ours.exp(), exact.exp(), atol=1e-4, rtol=0)
    assert torch.equal(our_codes, codes)
