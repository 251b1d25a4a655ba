"""The draw kernel: everything between the logits and the next step, in one launch.

One program draws for one slot and codebook. Nothing is multiplied by `tl.dot`, so that cards without
support for it by Triton run the kernel, too. It implements `apply_cfg` and `draw` of
`engine/sampler.py` and the bookkeeping of `ModelRunner.step`.

Rounding: guidance and temperature are bit-equal to PyTorch's. The noise is the same function of the
same integers with CUDA's double-precision logarithm, as PyTorch's on a GPU. The logarithm of the
noise and the masses of top-p may differ from PyTorch's in the last bit.
"""

from collections.abc import Mapping
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_wait

from serve_app.kernels.cuda.compilation import dependent_launch, jit

TO_DRAW = -1  # marks a code in the history that is still to be drawn
OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}  # guidance is no fused multiply-add
_TO_DRAW = tl.constexpr(TO_DRAW)
_COLDEST = tl.constexpr(1e-6)  # temperature


class SlotTensors(NamedTuple):
    """A step's state of S slots with K codebooks: int64, except for `finite` and `arrived`.

    tokens [S, K]: the next step's input; steps, first_frame, active [S]; finite [S]: bool;
    history [S, K, steps]; arrived [S]: int32 zeros, which count programs within a launch.
    """

    tokens: Tensor
    steps: Tensor
    first_frame: Tensor
    active: Tensor
    finite: Tensor
    history: Tensor
    arrived: Tensor


def draw_step(logits: Tensor, sampling: Mapping[str, Tensor], slots: SlotTensors) -> None:
    """Draw the codes of one step and advance the slots by it.

    logits [S, R, K, V]: row 0 is conditional, row 1, if there is one, unconditional;
    sampling: tensors [S] by name: temperature, top_k, top_p, cfg_coef, seed.
    """
    count, rows, codebooks, vocabulary = logits.shape
    draw_kernel[(count, codebooks)](
        logits,
        *(sampling[name] for name in ("cfg_coef", "temperature", "top_k", "top_p", "seed")),
        *slots,
        vocabulary,
        *logits.stride()[:3],
        slots.tokens.stride(0),
        *slots.history.stride()[:2],
        GUIDED=rows > 1,
        BLOCK=triton.next_power_of_2(vocabulary),
        **OPTIONS,
        **dependent_launch(logits.device),
    )


@jit
def draw_kernel(
    logits: tl.tensor,
    cfg_coefs: tl.tensor,
    temperatures: tl.tensor,
    top_ks: tl.tensor,
    top_ps: tl.tensor,
    seeds: tl.tensor,
    tokens: tl.tensor,
    steps: tl.tensor,
    first_frames: tl.tensor,
    active: tl.tensor,
    finite: tl.tensor,
    history: tl.tensor,
    arrived: tl.tensor,
    vocabulary: tl.tensor,
    logits_slot: tl.tensor,
    logits_row: tl.tensor,
    logits_codebook: tl.tensor,
    tokens_slot: tl.tensor,
    history_slot: tl.tensor,
    history_codebook: tl.tensor,
    GUIDED: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
) -> None:
    """Program (slot, codebook) of `draw_step`. Suffixed names are strides."""
    slot = tl.program_id(0)
    codebook = tl.program_id(1)
    code = tl.arange(0, BLOCK)
    if DEPENDENT:
        gdc_wait()
    step = tl.load(steps + slot)
    temperature = tl.load(temperatures + slot)

    first = logits + slot * logits_slot + codebook * logits_codebook
    guided = guide(first, logits_row, tl.load(cfg_coefs + slot), code, vocabulary, GUIDED)
    if not is_finite(guided):
        tl.store(finite + slot, False)

    scaled = tl.div_rn(guided, tl.maximum(temperature, _COLDEST))
    in_vocabulary = code < vocabulary
    kept = cut(scaled, in_vocabulary, vocabulary, tl.load(top_ks + slot), tl.load(top_ps + slot))
    noise_step = step + tl.load(first_frames + slot)
    noise = exponential_noise(tl.load(seeds + slot), noise_step, codebook * vocabulary + code)
    score = tl.where(kept, scaled - tl.log(noise), float("-inf"))
    score = tl.where(temperature > 0, score, guided)
    drawn = tl.minimum(tl.argmax(score, 0), vocabulary - 1)  # NaN must not leave the vocabulary

    place = history + slot * history_slot + codebook * history_codebook + step
    given = tl.load(place)
    token = tl.where(given == _TO_DRAW, drawn, given)
    tl.store(place, token)
    tl.store(tokens + slot * tokens_slot + codebook, token)
    # All programs of a slot read `steps`; the last one of them advances it.
    if tl.atomic_add(arrived + slot, 1) == tl.num_programs(1) - 1:
        tl.store(arrived + slot, 0)
        tl.store(steps + slot, step + tl.load(active + slot))


@jit
def guide(
    first: tl.tensor,
    row: tl.tensor,
    cfg_coef: tl.tensor,
    code: tl.tensor,
    vocabulary: tl.tensor,
    GUIDED: tl.constexpr,
) -> tl.tensor:
    """Load a codebook's logits and apply classifier-free guidance -> float32, -inf as padding."""
    inside = code < vocabulary
    guided = tl.load(first + code, inside, 0.0).to(tl.float32)
    if GUIDED:
        unconditional = tl.load(first + row + code, inside, 0.0).to(tl.float32)
        mixed = unconditional + (guided - unconditional) * cfg_coef
        guided = tl.where(cfg_coef == 1.0, guided, mixed)
    return tl.where(inside, guided, float("-inf"))


@jit
def is_finite(logits: tl.tensor) -> tl.tensor:
    """Return whether the largest logit is a finite number and none is NaN."""
    largest = tl.max(tl.where(logits != logits, float("inf"), logits), 0)
    return tl.abs(largest) < float("inf")


@jit
def cut(
    scaled: tl.tensor,
    inside: tl.tensor,
    vocabulary: tl.tensor,
    top_k: tl.tensor,
    top_p: tl.tensor,
) -> tl.tensor:
    """Return which codes top-k, or top-p if above 0, leaves to draw from.

    A code is kept if the codes with larger logits are fewer than top-k, or have a mass of at most
    top-p. The search for the smallest logit kept goes bit by bit, without a sort.
    """
    weight = tl.where(inside, 1.0, 0.0)
    limit = (tl.where(top_k > 0, tl.minimum(top_k, vocabulary), vocabulary) - 1).to(tl.float32)
    if top_p > 0:
        weight = tl.exp(scaled - tl.max(scaled, 0))
        weight = tl.div_rn(weight, tl.sum(weight, 0))
        limit = top_p
    key = ordered_key(scaled)
    smallest = tl.full((), 0, tl.uint32)
    half = tl.full((), 0x80000000, tl.uint32)
    for _ in range(32):
        trial = smallest + half
        smallest = tl.where(tl.sum(tl.where(key >= trial, weight, 0.0), 0) > limit, trial, smallest)
        half = half >> 1
    return key >= smallest


@jit
def ordered_key(x: tl.tensor) -> tl.tensor:
    """Map float32 to uint32 in the same order, both zeros to one number."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.uint32, bitcast=True)
    return tl.where(bits >> 31 != 0, bits ^ 0xFFFFFFFF, bits | 0x80000000)


@jit
def exponential_noise(seed: tl.tensor, step: tl.tensor, counter: tl.tensor) -> tl.tensor:
    """Return Exp(1) noise of a seed and a step (int64) and the codes' counters."""
    key = mix(mix(seed.to(tl.uint32)) ^ (seed >> 32).to(tl.uint32) ^ 0x9E3779B9)
    key = mix(key ^ step.to(tl.uint32))
    bits = mix(mix(counter.to(tl.uint32) ^ 0x85EBCA6B) ^ key) >> 8
    uniform = (bits.to(tl.float64) + 0.5) * 5.9604644775390625e-08  # 2**-24
    return -tl.log(uniform).to(tl.float32)


@jit
def mix(x: tl.tensor) -> tl.tensor:
    """Hash uint32 numbers by "lowbias32", as `engine/sampler.py`."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)
