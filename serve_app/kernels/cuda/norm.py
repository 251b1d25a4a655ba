"""Triton kernels of a layer norm: a row's statistics, and whole rows normalized.

A row is read by the threads of one warp, and summed in the order of these threads: its result is
the same bits in every batch, and the same in a product that normalizes as it reads.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from serve_app.kernels.cuda.compilation import dependent_launch, jit

PART = tl.constexpr(256)  # of a row, summed at once: 8 of each thread of a warp


class Norm(NamedTuple):
    """A layer norm: gains and shifts [K]."""

    gains: Tensor
    shifts: Tensor
    eps: float


def normalize(x: Tensor, norm: Norm, out: Tensor) -> None:
    """Write norm(x) to out: x, out [n, K], whose rows may lie apart."""
    rows, inputs = x.shape
    norm_kernel[(rows,)](
        x,
        x.stride(0),
        norm.gains,
        norm.shifts,
        norm.eps,
        out,
        out.stride(0),
        inputs,
        PARTS=parts_of(inputs),
        WIDTH=triton.next_power_of_2(inputs),
        num_warps=1,
        enable_fp_fusion=False,  # the roundings of a product's own norm
        **dependent_launch(x.device),
    )


def parts_of(inputs: int) -> int:
    """Return the parts in which `statistics` reads a row."""
    return int(triton.cdiv(inputs, PART.value))


@jit
def statistics(
    x: tl.tensor, x_stride: tl.tensor, row: tl.tensor, inside: tl.tensor, inputs: tl.tensor,
    eps: tl.tensor, PARTS: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return mean and reciprocal standard deviation of rows, in fp32, by two passes.

    The second one finds the row in the L1 cache.
    """
    sums = tl.zeros((row.shape[0], PART), tl.float32)
    for part in tl.static_range(PARTS):
        k = part * PART + tl.arange(0, PART)
        mask = inside[:, None] & (k < inputs)[None, :]
        values = tl.load(x + row[:, None] * x_stride + k[None, :], mask=mask, other=0.0)
        sums += values.to(tl.float32)
    mean = tl.sum(sums, axis=1) / inputs
    squares = tl.zeros((row.shape[0], PART), tl.float32)
    for part in tl.static_range(PARTS):
        k = part * PART + tl.arange(0, PART)
        mask = inside[:, None] & (k < inputs)[None, :]
        values = tl.load(x + row[:, None] * x_stride + k[None, :], mask=mask, other=0.0)
        deviations = tl.where(mask, values.to(tl.float32) - mean[:, None], 0.0)
        squares += deviations * deviations
    return mean, tl.rsqrt(tl.sum(squares, axis=1) / inputs + eps)


@jit
def norm_kernel(
    x: tl.tensor, x_stride: tl.tensor, gains: tl.tensor, shifts: tl.tensor, eps: tl.tensor,
    out: tl.tensor, out_stride: tl.tensor, inputs: tl.tensor, PARTS: tl.constexpr,
    WIDTH: tl.constexpr, DEPENDENT: tl.constexpr,
) -> None:  # fmt: skip
    """Normalize one row: program (row). WIDTH: a power of 2, at least `inputs`."""
    k = tl.arange(0, WIDTH)
    known = k < inputs
    gain = tl.load(gains + k, mask=known, other=0.0).to(tl.float32)
    shift = tl.load(shifts + k, mask=known, other=0.0).to(tl.float32)
    if DEPENDENT:
        gdc_wait()
    row = tl.program_id(0) + tl.arange(0, 1)
    mean, scale = statistics(x, x_stride, row, row >= 0, inputs, eps, PARTS)
    values = tl.load(x + row[:, None] * x_stride + k[None, :], mask=known[None, :], other=0.0)
    if DEPENDENT:
        gdc_launch_dependents()
    normal = (values.to(tl.float32) - mean[:, None]) * scale[:, None]
    y = normal * gain[None, :] + shift[None, :]
    out_at = out + row[:, None] * out_stride + k[None, :]
    tl.store(out_at, y.to(out.dtype.element_ty), mask=known[None, :])
