"""The harness itself: interpretation, recording and compilation, mixed in one process."""

import pytest
import torch
import triton.language as tl

from serve_app.kernels.cuda.compilation import jit
from tests.kernels.cuda.compiled import Launch, compile_all
from tests.kernels.cuda.interpreter import interpreted

BLOCK = 64


@jit
def doubled(x: tl.tensor) -> tl.tensor:
    return x * 2


@jit
def sum_of_doubled(x: tl.tensor, out: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr) -> None:
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    values = tl.load(x + row * size + columns, mask=columns < size, other=0.0)
    tl.store(out + row, tl.sum(doubled(values.to(tl.float32))))


@jit
def square(x: tl.tensor, out: tl.tensor, BLOCK: tl.constexpr) -> None:
    at = tl.arange(0, BLOCK)
    tile = at[:, None] * BLOCK + at[None, :]
    block = tl.load(x + tile)
    tl.store(out + tile, tl.dot(block, block))


def launch_sums(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(rows, 50)
    out = torch.empty(rows)
    sum_of_doubled[(rows,)](x, out, x.shape[1], BLOCK=BLOCK, num_warps=1)
    return x, out


def test_a_kernel_and_the_function_it_calls_run_on_cpu_tensors(launches: list[Launch]) -> None:
    x, out = launch_sums(3)
    torch.testing.assert_close(out, 2 * x.sum(1))
    assert [launch.name for launch in launches] == ["sum_of_doubled"]


def test_interpretation_and_compilation_alternate(launches: list[Launch]) -> None:
    """The interpreter replaces parts of the language; what it leaves replaced breaks a compilation after it."""
    launch_sums(1)
    assert launches[0].compile(90).stack_bytes == 0
    x, out = launch_sums(2)
    torch.testing.assert_close(out, 2 * x.sum(1))
    assert tl.core.is_builtin(tl.load), "the language is as it was"
    assert tl.core.is_builtin(tl.core.load)


def test_recorded_launches_can_be_left_out() -> None:
    with interpreted(execute=False) as launches:
        x = torch.randn(2, 50)
        out = torch.zeros(2)
        sum_of_doubled[(2,)](x, out, x.shape[1], BLOCK=BLOCK, num_warps=1)
    assert (out == 0).all()
    assert len(launches) == 1


def test_binaries_are_made_and_tensor_cores_are_found(
    launches: list[Launch], capsys: pytest.CaptureFixture[str]
) -> None:
    launch_sums(1)
    x = torch.randn(BLOCK, BLOCK, dtype=torch.float16)
    square[(1,)](x, torch.empty_like(x), BLOCK=BLOCK, num_warps=4)
    binaries = compile_all(launches, (80, 90))
    assert [one.tensor_cores for one in binaries] == [False] * 2 + [True] * 2
    assert all(one.warps_on_sm > 0 for one in binaries)
    assert len(capsys.readouterr().out.splitlines()) == 3 + len(binaries)
    assert launches[0].compile(75).stack_bytes == 0
