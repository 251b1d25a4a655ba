"""Triton kernel of a step's products: few rows, so that the time is that of reading the weights.

One kernel serves all: a layer norm before the product, and a bias, GELU or the residual after it,
as its constants say. The weights are the left operand of the tensor cores, so that the rows, not
the outputs, are padded. Program (tile of rows, tile of outputs, part of the inputs): programs that
read the same weights run together.

A row's result is the same bits in every batch. Its sums are taken in an order that depends on the
weights' shape alone: tiles differ between batches, parts of the inputs do not, and neither does the
tensor cores' instruction. A norm is the same arithmetic here as in `norm`.
"""

from collections.abc import Callable
from typing import Any, cast

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from serve_app.kernels.cuda.compilation import Kernel, jit
from serve_app.kernels.cuda.norm import statistics

LINES = tl.constexpr(4)  # of the L2 cache, prefetched of each row of a tile: more take longer
LINE_BITS = tl.constexpr(1024)
_any_rows = cast(
    Callable[[Callable[..., Any]], Kernel], triton.jit(do_not_specialize=["rows"])
)  # no variants for 1 row, and for a multiple of 16


@jit
def prefetch(
    weight: tl.tensor, column: tl.tensor, first: tl.tensor, last: tl.tensor, outputs: tl.tensor,
    inputs: tl.tensor,
) -> None:  # fmt: skip
    """Move the beginning of each row of the tile's weights into the L2 cache, without waiting."""
    in_line: tl.constexpr = LINE_BITS // weight.dtype.element_ty.primitive_bitwidth
    k = first + in_line * tl.arange(0, LINES)
    mask = (column < outputs)[:, None] & (k < last)[None, :]
    at = weight + column[:, None].to(tl.int64) * inputs + k[None, :]
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [tl.where(mask, at, weight)],
        dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@jit
def partial_product(
    x: tl.tensor, x_stride: tl.tensor, gains: tl.tensor, shifts: tl.tensor, eps: tl.tensor,
    weight: tl.tensor, row: tl.tensor, column: tl.tensor, inside: tl.tensor, outputs: tl.tensor,
    inputs: tl.tensor, SPLITS: tl.constexpr, INPUTS: tl.constexpr, NORM: tl.constexpr,
    EVEN: tl.constexpr, PREFETCH: tl.constexpr, DEPENDENT: tl.constexpr, PARTS: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Multiply this program's part of the inputs -> sums [outputs of the tile, rows of the tile]."""
    part = tl.cdiv(inputs, SPLITS * INPUTS) * INPUTS
    first = tl.program_id(2) * part
    last = tl.minimum(first + part, inputs)
    if PREFETCH:
        prefetch(weight, column, first, last, outputs, inputs)
    if DEPENDENT:
        gdc_wait()
    if NORM:
        mean, scale = statistics(x, x_stride, row, inside, inputs, eps, PARTS)
    sums = tl.zeros((column.shape[0], row.shape[0]), tl.float32)
    for start in range(first, last, INPUTS):
        k = start + tl.arange(0, INPUTS)
        x_at = x + row[None, :] * x_stride + k[:, None]
        weight_at = weight + column[:, None].to(tl.int64) * inputs + k[None, :]
        if EVEN:
            w = tl.load(weight_at, eviction_policy="evict_first")
            y = tl.load(x_at, mask=inside[None, :], other=0.0)
        else:
            mask = (column < outputs)[:, None] & (k < last)[None, :]
            w = tl.load(weight_at, mask=mask, other=0, eviction_policy="evict_first")
            y = tl.load(x_at, mask=inside[None, :] & (k < last)[:, None], other=0.0)
        if NORM:
            gain = tl.load(gains + k, mask=k < last, other=0.0).to(tl.float32)
            shift = tl.load(shifts + k, mask=k < last, other=0.0).to(tl.float32)
            normal = (y.to(tl.float32) - mean[None, :]) * scale[None, :]
            y = (normal * gain[:, None] + shift[:, None]).to(x.dtype.element_ty)
        sums = tl.dot(w.to(y.dtype), y, sums, input_precision="ieee")
    return sums


@jit
def store_outputs(
    sums: tl.tensor, scales: tl.tensor, bias: tl.tensor, constant: tl.tensor, out: tl.tensor,
    out_stride: tl.tensor, row: tl.tensor, column: tl.tensor, inside: tl.tensor,
    outputs: tl.tensor, INT8: tl.constexpr, BIAS: tl.constexpr, GELU: tl.constexpr,
    RESIDUAL: tl.constexpr, CONSTANT: tl.constexpr,
) -> None:  # fmt: skip
    """Scale, add the bias, apply GELU or add the residual, and store: sums [outputs, rows]."""
    within = column < outputs
    if INT8:
        sums *= tl.load(scales + column, mask=within, other=0.0)[:, None]
    if BIAS:
        sums += tl.load(bias + column, mask=within, other=0.0).to(tl.float32)[:, None]
    if GELU:
        sums = 0.5 * sums * (1 + tl.erf(sums * 0.7071067811865476))
    mask = within[:, None] & inside[None, :]
    out_at = out + row[None, :] * out_stride + column[:, None]
    if RESIDUAL:
        sums += tl.load(out_at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_at, sums.to(out.dtype.element_ty), mask=mask)
    if CONSTANT:
        added = tl.load(constant + column, mask=within, other=0.0).to(tl.float32)[:, None]
        other_at = out_at + out_stride // 2
        other = tl.load(other_at, mask=mask, other=0.0).to(tl.float32)
        tl.store(other_at, (other + added).to(out.dtype.element_ty), mask=mask)


@_any_rows
def product_kernel(
    x: tl.tensor, x_stride: tl.tensor, gains: tl.tensor, shifts: tl.tensor, eps: tl.tensor,
    weight: tl.tensor, scales: tl.tensor, bias: tl.tensor, constant: tl.tensor, out: tl.tensor,
    out_stride: tl.tensor, parts: tl.tensor, arrived: tl.tensor, rows: tl.tensor,
    outputs: tl.tensor, inputs: tl.tensor, ROWS: tl.constexpr, OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr, SPLITS: tl.constexpr, NORM: tl.constexpr, INT8: tl.constexpr,
    BIAS: tl.constexpr, GELU: tl.constexpr, RESIDUAL: tl.constexpr, CONSTANT: tl.constexpr,
    EVEN: tl.constexpr, PREFETCH: tl.constexpr, DEPENDENT: tl.constexpr, PARTS: tl.constexpr,
) -> None:  # fmt: skip
    """Compute out = f(norm(x) @ weight.T + bias), or add the product to out.

    x [rows, inputs], out [rows, outputs], with strides between rows; gains, shifts [inputs]: of the
    norm; weight [outputs, inputs], int8 with scales [outputs] fp32, or in the dtype of x;
    constant [outputs]: added to the rows that lie half an out_stride behind those of out.
    parts [SPLITS, rows, outputs] fp32; arrived: zeros for the tiles, before and after: the program
    that is the last of its tile adds all parts in their order.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    inside = row < rows
    sums = partial_product(
        x, x_stride, gains, shifts, eps, weight, row, column, inside, outputs, inputs,
        SPLITS, INPUTS, NORM, EVEN, PREFETCH, DEPENDENT, PARTS,
    )  # fmt: skip
    if DEPENDENT:
        gdc_launch_dependents()
    is_last = True
    if SPLITS > 1:
        mask = (column < outputs)[:, None] & inside[None, :]
        part_at = parts + row[None, :] * outputs + column[:, None]
        tl.store(part_at + tl.program_id(2) * rows * outputs, sums, mask=mask)
        tl.debug_barrier()  # all threads have stored before one announces it
        tile = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
        is_last = tl.atomic_add(arrived + tile, 1, sem="acq_rel", scope="gpu") == SPLITS - 1
        if is_last:
            sums = tl.zeros((OUTPUTS, ROWS), tl.float32)
            for part in tl.static_range(SPLITS):
                at = part_at + part * rows * outputs
                sums += tl.load(at, mask=mask, other=0.0, cache_modifier=".cg")
            tl.store(arrived + tile, 0)
    if is_last:
        store_outputs(
            sums, scales, bias, constant, out, out_stride, row, column, inside, outputs,
            INT8, BIAS, GELU, RESIDUAL, CONSTANT,
        )  # fmt: skip
