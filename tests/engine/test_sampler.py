"""Sampling: AudioCraft's distribution, and noise of (seed, step, codebook, token) alone."""

import pytest
import torch
from audiocraft.utils import utils as audiocraft_utils
from scipy import stats

from serve_app.engine.sampler import apply_cfg, exponential_noise, sample, token_keys

VOCABULARY = 64
DRAWS = 40_000
GOLDEN = [[0.0591754, 6.1902294, 0.2398373], [0.0935098, 0.1582663, 0.1800685]]


def draw(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """DRAWS codes from one distribution [V], each with another seed."""
    noise = exponential_noise(
        torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64), token_keys(1, VOCABULARY)
    )
    row = logits.expand(DRAWS, 1, VOCABULARY)
    parameters = [torch.tensor(x).expand(DRAWS) for x in (temperature, top_k, top_p)]
    return sample(row, noise, *parameters)[:, 0]


def oracle_distribution(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float
) -> torch.Tensor:
    """Return AudioCraft's distribution: its sampling functions without the draw."""
    seen: list[torch.Tensor] = []
    original = audiocraft_utils.multinomial

    def record(probs: torch.Tensor, num_samples: int) -> torch.Tensor:
        seen.append(probs)
        return torch.zeros(*probs.shape[:-1], num_samples, dtype=torch.int64)

    probs = torch.softmax(logits / temperature, dim=-1)[None]
    audiocraft_utils.multinomial = record
    try:
        if top_p > 0:
            audiocraft_utils.sample_top_p(probs.clone(), top_p)
            order = probs.sort(descending=True).indices
            return torch.zeros_like(probs).scatter_(-1, order, seen[0])[0]
        if top_k > 0:
            audiocraft_utils.sample_top_k(probs.clone(), top_k)
            return seen[0][0]
        return probs[0]
    finally:
        audiocraft_utils.multinomial = original


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, 0, 0.0),
        (1.0, 10, 0.0),
        (0.5, 250, 0.0),
        (1.7, 20, 0.0),
        (1.0, 10, 0.8),
        (1.0, 0, 0.3),
        (0.7, 5, 1.0),
    ],
)
def test_distribution_is_the_oracles(temperature: float, top_k: int, top_p: float) -> None:
    logits = 2 * torch.randn(VOCABULARY)
    expected = oracle_distribution(logits, temperature, min(top_k, VOCABULARY), top_p)
    counts = torch.bincount(draw(logits, temperature, top_k, top_p), minlength=VOCABULARY)
    assert counts[expected == 0].sum() == 0, "a code was drawn that the oracle never draws"
    enough = expected * DRAWS > 5
    observed = torch.cat([counts[enough], counts[~enough].sum()[None]]).double()
    wanted = torch.cat([expected[enough], expected[~enough].sum()[None]]).double()
    kept = wanted > 0
    wanted = wanted[kept] / wanted[kept].sum() * observed[kept].sum()
    if len(wanted) > 1:
        assert stats.chisquare(observed[kept].numpy(), wanted.numpy()).pvalue > 1e-3


def test_parameters_are_each_rows_own() -> None:
    logits = torch.randn(3, 1, VOCABULARY)
    noise = exponential_noise(
        torch.tensor([1, 2, 3]), torch.zeros(3, dtype=torch.int64), token_keys(1, VOCABULARY)
    )
    temperature = torch.tensor([0.0, 1.0, 1.3])
    top_k = torch.tensor([0, 1, 9])
    top_p = torch.tensor([0.0, 0.0, 0.6])
    together = sample(logits, noise, temperature, top_k, top_p)
    for row in range(3):
        one = slice(row, row + 1)
        assert torch.equal(
            sample(logits[one], noise[one], temperature[one], top_k[one], top_p[one]), together[one]
        )
    assert together[0] == logits[0].argmax(), "temperature 0 takes the likeliest"
    assert together[1] == logits[1].argmax(), "top_k 1 leaves the likeliest alone"


def test_guidance() -> None:
    logits = torch.randn(2, 2, 4, VOCABULARY)
    conditional, unconditional = logits.unbind(1)
    guided = apply_cfg(logits, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(guided[0], conditional[0])
    torch.testing.assert_close(
        guided[1], unconditional[1] + 3 * (conditional[1] - unconditional[1])
    )


def test_noise_is_exponential_and_independent() -> None:
    noise = exponential_noise(torch.arange(100), torch.full((100,), 7), token_keys(4, 512))
    assert stats.kstest(noise.flatten().numpy(), "expon").pvalue > 1e-3
    for a, b in (
        (noise[0], noise[1]),
        (noise[0, 0], noise[0, 1]),
        (noise[0, :, :-1], noise[0, :, 1:]),
    ):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 0.1
    steps = exponential_noise(torch.full((100,), 3), torch.arange(100), token_keys(1, 512)).view(
        100, 512
    )
    off_diagonal = torch.corrcoef(steps) - torch.eye(100)
    assert off_diagonal.abs().max() < 0.25


def test_noise_depends_on_seed_step_codebook_and_token_alone() -> None:
    seeds = torch.tensor([5, 2**62 + 5, 5])
    steps = torch.tensor([9, 9, 10])
    noise = exponential_noise(seeds, steps, token_keys(4, 64))
    assert torch.equal(exponential_noise(seeds[1:2], steps[1:2], token_keys(4, 64))[0], noise[1])
    assert len({tuple(row.flatten().tolist()) for row in noise}) == 3


def test_noise_is_pinned() -> None:
    """The same seed makes the same music in later versions too."""
    noise = exponential_noise(torch.tensor([42]), torch.tensor([0]), token_keys(2, 3))
    torch.testing.assert_close(noise[0], torch.tensor(GOLDEN), rtol=0, atol=1e-6)
