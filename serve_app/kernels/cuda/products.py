"""Products of a decode step on a GPU: tiles, parts of the inputs, and the launch."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from serve_app.kernels.cuda.compilation import dependent_launch
from serve_app.kernels.cuda.norm import Norm, normalize, parts_of
from serve_app.kernels.cuda.product_kernel import product_kernel

MOST_SPLITS = 8
_FEWEST_INPUTS = 256  # of a part
_TILE = 32  # outputs of a program that reads few rows
_ROWS = 2  # of the smallest tile
_FUSED_ROWS = 4  # up to so many, each program normalizes the rows itself

Shape = tuple[int, int]  # outputs and inputs of a product


class Weights(NamedTuple):
    """Weights of a linear layer: weight [N, K], int8 with scales [N] fp32, or in the dtype of x."""

    weight: Tensor
    scales: Tensor | None = None
    bias: Tensor | None = None


class Tile(NamedTuple):
    """Rows and outputs of a program, inputs of a load, warps, and stages of the loads."""

    rows: int
    outputs: int
    inputs: int
    warps: int
    stages: int


class Workspace:
    """Memory for products whose inputs are split: products that use it must not overlap.

    rows: most rows of a product; shapes: outputs and inputs of the products;
    processors: streaming multiprocessors to keep busy.
    """

    def __init__(
        self, rows: int, shapes: Iterable[Shape], processors: int, device: torch.device
    ) -> None:
        self.processors = processors
        splits = {shape: splits_of(*shape, processors) for shape in shapes}
        split = {shape: parts for shape, parts in splits.items() if parts > 1}
        numbers = max((rows * parts * outputs for (outputs, _), parts in split.items()), default=0)
        tiles = max((triton.cdiv(outputs, _TILE) for outputs, _ in split), default=0)
        self.parts = torch.empty(numbers, device=device)
        self.arrived = torch.zeros(
            tiles * triton.cdiv(rows, _TILE), dtype=torch.int32, device=device
        )

    def check(self, rows: int, outputs: int, splits: int) -> None:
        """Raise ValueError for a product that this memory is too small for."""
        if splits > 1 and rows * outputs * splits > len(self.parts):
            raise ValueError(
                f"a product of {rows} rows with {outputs} outputs in {splits} parts needs more "
                f"than the workspace's {len(self.parts)} numbers: make it for this shape"
            )


def tile_of(rows: int, int8: bool) -> Tile:
    """Return the tile of a product with so many rows.

    Those of up to 8 rows and of 32 were the fastest of those tried on an H100; others follow them.
    """
    if rows <= 16:
        inputs = 256 if int8 and rows <= _FUSED_ROWS else 128
        return Tile(max(_ROWS, triton.next_power_of_2(rows)), _TILE, inputs, 2, 5)
    if rows <= 32:
        return Tile(32, _TILE, 128, 4, 4)
    return Tile(64, _TILE, 128, 8, 3)


def splits_of(outputs: int, inputs: int, processors: int) -> int:
    """Return the parts of a product's inputs: enough programs to let every processor read weights.

    The number of rows has no part in it, so that a row's sums have the same order in every batch.
    """
    splits = 1
    while (
        splits < MOST_SPLITS
        and splits * triton.cdiv(outputs, _TILE) < processors
        and inputs >= 2 * splits * _FEWEST_INPUTS
    ):
        splits *= 2
    return splits


def multiply(
    x: Tensor,
    weights: Weights,
    out: Tensor,
    workspace: Workspace,
    norm: Norm | None = None,
    gelu: bool = False,
    residual: bool = False,
    constant: Tensor | None = None,
) -> None:
    """Write f(norm(x) @ weight.T + bias) to out, or add it to out (`residual`).

    x [n, K], out [n, N]: views whose rows may lie apart. f is GELU (erf) or the identity.
    constant [N]: added to the rows half-way between those of out.
    """
    rows, inputs = x.shape
    outputs = out.shape[1]
    tile = tile_of(rows, weights.scales is not None)
    splits = 1 if norm else splits_of(outputs, inputs, workspace.processors)
    if norm is not None and rows > _FUSED_ROWS:
        y = x.new_empty(x.shape)
        normalize(x, norm, y)
        x, norm = y, None
    workspace.check(rows, outputs, splits)
    grid = (triton.cdiv(rows, tile.rows), triton.cdiv(outputs, tile.outputs), splits)
    product_kernel[grid](
        x,
        x.stride(0),
        norm.gains if norm else x,
        norm.shifts if norm else x,
        norm.eps if norm else 0.0,
        *(tensor if tensor is not None else x for tensor in (*weights, constant)),
        out,
        out.stride(0),
        workspace.parts,
        workspace.arrived,
        rows,
        outputs,
        inputs,
        ROWS=tile.rows,
        OUTPUTS=tile.outputs,
        INPUTS=tile.inputs,
        SPLITS=splits,
        NORM=norm is not None,
        INT8=weights.scales is not None,
        BIAS=weights.bias is not None,
        GELU=gelu,
        RESIDUAL=residual,
        CONSTANT=constant is not None,
        EVEN=inputs % tile.inputs == 0 and outputs % tile.outputs == 0,
        PREFETCH=norm is not None and x.is_cuda,
        PARTS=parts_of(inputs) if norm else 0,
        num_warps=tile.warps,
        num_stages=tile.stages,
        enable_fp_fusion=False,  # the same roundings in every variant
        **dependent_launch(x.device),
    )
