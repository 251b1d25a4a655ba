"""Division of a product's weights among the threads of a team, and the end of each part."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from serve_app.kernels.cpu.activations import gelu
from serve_app.kernels.cpu.compilation import SERIAL, Floats
from serve_app.kernels.cpu.packing import TILE
from serve_app.kernels.cpu.team import Team, peek, size, wait
from serve_app.kernels.cpu.vectors import element, int64, prefetch

PART_BYTES = 2**16  # at most, unless one tile has more
AHEAD = 2**14  # bytes that a thread fetches while it waits
_LINE = 64  # bytes


@SERIAL  # type: ignore[untyped-decorator]
def tiles_and_share(team: Team, weight: NDArray[Any]) -> tuple[int, int]:
    """Return the number of a weight's tiles, and of the tiles of one part.

    weight [N, K], or [N / TILE, ...] as packed by packing.py.
    """
    rows = TILE if weight.ndim == 2 else 1
    tiles = len(weight) // rows
    tile_bytes = rows * weight.strides[0]
    return tiles, max(1, min(PART_BYTES // tile_bytes, tiles // (8 * size(team))))


@SERIAL  # type: ignore[untyped-decorator]
def wait_ahead(team: Team, weight: NDArray[Any]) -> None:
    """Wait as `team.wait` does, and fetch the first weights of this thread's next part.

    Memory is idle while threads wait, normalize and quantize.
    """
    tiles, share = tiles_and_share(team, weight)
    part = peek(team, -(-tiles // share))
    if part >= 0:
        rows = TILE if weight.ndim == 2 else 1
        _prefetch_lines(weight, part * share * rows, AHEAD)
    wait(team)


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch_lines(_: Any, array: Any, index: Any, count: Any) -> Any:  # noqa: ARG001
    """Fetch `count` bytes from array[index] on into the cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        place = element(context, builder, kind, arguments[0], arguments[1], int64(0))
        start = builder.bitcast(place, ir.IntType(8).as_pointer())
        with cgutils.for_range_slice(builder, int64(0), arguments[2], int64(_LINE)) as (at, _):
            prefetch(builder, builder.gep(start, [at]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


@SERIAL  # type: ignore[untyped-decorator]
def put(values: Floats, bias: Floats, activate: bool, add: bool, out: Floats) -> None:
    """Write a part of a row, after its bias and GELU, or add it; values, out [n].

    bias [n], or [0] for none.
    """
    if len(bias):
        for j in range(len(out)):
            values[j] += bias[j]
    if activate:
        for j in range(len(out)):
            values[j] = gelu(values[j])
    if add:
        for j in range(len(out)):
            out[j] += values[j]
    else:
        for j in range(len(out)):
            out[j] = values[j]
