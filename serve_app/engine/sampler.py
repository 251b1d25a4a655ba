"""Sampling of the next codes: guidance, temperature, top-k, top-p.

Pure functions; randomness is an input.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_STEP_SALT = 0x9E3779B9
_TOKEN_SALT = 0x85EBCA6B


def apply_cfg(logits: Tensor, cfg_coef: Tensor) -> Tensor:
    """Apply classifier-free guidance: logits [B, R, K, V], cfg_coef [B] -> [B, K, V].

    Implements arXiv:2207.12598. Row 0 is conditional, row 1 unconditional. At cfg_coef 1, or
    without row 1, the conditional logits are returned as they are.
    """
    conditional = logits[:, 0].float()
    if logits.shape[1] == 1:
        return conditional
    unconditional = logits[:, 1].float()
    cfg_coef = cfg_coef[:, None, None]
    guided = unconditional + (conditional - unconditional) * cfg_coef
    return torch.where(cfg_coef == 1, conditional, guided)


def draw(
    logits: Tensor, sampling: Mapping[str, Tensor], noise_steps: Tensor, token_keys: Tensor
) -> Tensor:
    """Draw codes [B, K] from guided logits [B, K, V].

    sampling: tensors [B], named as in SamplingParams; noise_steps [B]; token_keys [K, V].
    """
    noise = exponential_noise(sampling["seed"], noise_steps, token_keys)
    return sample(logits, noise, sampling["temperature"], sampling["top_k"], sampling["top_p"])


def sample(
    logits: Tensor, noise: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor
) -> Tensor:
    """Draw codes [B, K] from logits [B, K, V], by noise ~ Exp(1) [B, K, V] and parameters [B].

    As in AudioCraft, temperature 0 is greedy, top_p replaces top_k when above 0, and top_k 0 means
    all codes.
    The drawn code is argmax(p / noise), which has the distribution p.
    """
    temperature, top_k, top_p = (x[:, None, None] for x in (temperature, top_k, top_p))
    scaled = logits / temperature.clamp(min=1e-6)
    lowest = _lowest(scaled, top_k, top_p)
    drawn = (scaled - noise.log()).masked_fill(scaled < lowest, -torch.inf).argmax(dim=-1)
    return torch.where(temperature.squeeze(-1) > 0, drawn, logits.argmax(dim=-1))


def _lowest(scaled: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Return the least logit [B, K, 1] that may be drawn: scaled [B, K, V]; top_k, top_p [B, 1, 1].

    On a CPU, whose branches cost nothing, nothing is sorted for top_k alone: the same logit is
    found in a tenth of the time.
    """
    vocabulary = scaled.shape[-1]
    in_top_k = torch.where(top_k > 0, top_k, vocabulary).clamp(max=vocabulary)
    last = in_top_k - 1
    if scaled.device.type == "cpu" and not bool((top_p > 0).any()):
        ordered = scaled.topk(int(in_top_k.max()), dim=-1).values
    else:
        ordered = scaled.sort(dim=-1, descending=True).values
        probabilities = ordered.softmax(dim=-1)
        in_top_p = (
            (probabilities.cumsum(dim=-1) - probabilities <= top_p)
            .sum(dim=-1, keepdim=True)
            .clamp(min=1)
        )
        last = torch.where(top_p > 0, in_top_p, in_top_k) - 1
    return ordered.gather(-1, last.expand(*scaled.shape[:-1], 1))


def exponential_noise(seeds: Tensor, steps: Tensor, token_keys: Tensor) -> Tensor:
    """Return Exp(1) noise [B, K, V] for seeds and steps [B] (int64).

    The noise is a pure function of (seed, step, codebook, token).
    Integer operations hash the four into 24 bits, so that a CPU and a GPU draw the same uniform
    numbers.
    """
    key = _mix(_mix(seeds & _MASK) ^ (seeds >> 32 & _MASK) ^ _STEP_SALT)
    key = _mix(key ^ (steps & _MASK))
    bits = _mix(token_keys ^ key[:, None, None]) >> 8
    uniform = (bits.double() + 0.5) / 2**24
    return -uniform.log().float()


def token_keys(num_codebooks: int, vocabulary: int, device: torch.device | None = None) -> Tensor:
    """Return the hash keys [K, V] (int64) of each codebook and token."""
    counter = torch.arange(num_codebooks * vocabulary, device=device)
    return _mix(counter.view(num_codebooks, vocabulary) ^ _TOKEN_SALT)


def _mix(x: Tensor) -> Tensor:
    """Hash by "lowbias32": a bijection of 32-bit integers, held in int64, with full avalanche."""
    x = (x ^ x >> 16) * 0x7FEB352D & _MASK
    x = (x ^ x >> 15) * 0x846CA68B & _MASK
    return x ^ x >> 16
