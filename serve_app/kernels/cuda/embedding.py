"""Triton kernel of a step's input: the sum of the codebooks' embeddings and the position's."""

import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from serve_app.kernels.cuda.compilation import dependent_launch, jit

BLOCK = 512  # elements of a row


@jit
def embedding_kernel(
    tokens: tl.tensor, token_stride: tl.tensor, table: tl.tensor, table_rows: tl.tensor,
    positions: tl.tensor, position_table: tl.tensor, out: tl.tensor, size: tl.tensor,
    CODEBOOKS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
) -> None:  # fmt: skip
    """Write one block of a slot's rows. Program (slot, block)."""
    slot = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < size
    if DEPENDENT:
        gdc_wait()
    total = tl.zeros((BLOCK,), tl.float32)
    for codebook in tl.static_range(CODEBOOKS):
        row = tl.load(tokens + slot * token_stride + codebook) + codebook * table_rows
        total += tl.load(table + row * size + column, mask=mask, other=0.0).to(tl.float32)
    position = tl.load(positions + slot)
    added = tl.load(position_table + position * size + column, mask=mask, other=0.0)
    if DEPENDENT:
        gdc_launch_dependents()
    dtype = out.dtype.element_ty
    x = total.to(dtype).to(tl.float32) + added.to(dtype).to(tl.float32)  # rounded as PyTorch does
    for branch in tl.static_range(ROWS):
        tl.store(out + (slot * ROWS + branch) * size + column, x.to(dtype), mask=mask)


def embed(
    tokens: Tensor, table: Tensor, positions: Tensor, position_table: Tensor, out: Tensor
) -> None:
    """Write the embeddings of a step's tokens to every row of the slots.

    tokens [B, K]: within their codebooks; table [K * V, D], contiguous; positions [B]: of
    position_table [L, D]; out [B * R, D], contiguous.
    """
    slots, codebooks = tokens.shape
    size = out.shape[1]
    embedding_kernel[(slots, triton.cdiv(size, BLOCK))](
        tokens,
        tokens.stride(0),
        table,
        len(table) // codebooks,
        positions,
        position_table,
        out,
        size,
        CODEBOOKS=codebooks,
        ROWS=len(out) // slots,
        BLOCK=BLOCK,
        num_warps=2,
        **dependent_launch(out.device),
    )
