"""The embedding kernel: the sum that PyTorch makes, in every row of a slot."""

import pytest
import torch
from torch import Tensor

from serve_app.kernels.cuda.embedding import embed
from tests.kernels.cuda.compiled import ALL_ARCHS, Launch, compile_all

ERRORS = {torch.float32: 1e-6, torch.float16: 0.0, torch.bfloat16: 0.0}
SLOTS, CODEBOOKS, VOCABULARY, SIZE, LENGTH = 3, 4, 17, 520, 9


def case(rows: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The kernel's rows, and PyTorch's."""
    tokens = torch.randint(VOCABULARY, (SLOTS + 1, CODEBOOKS))[:SLOTS]
    table = torch.randn(CODEBOOKS * VOCABULARY, SIZE).to(dtype)
    positions = torch.randint(LENGTH, (SLOTS,))
    position_table = torch.randn(LENGTH, SIZE)
    out = torch.full((SLOTS * rows, SIZE), torch.nan, dtype=dtype)
    embed(tokens, table, positions, position_table, out)
    offsets = torch.arange(CODEBOOKS) * VOCABULARY
    summed = torch.nn.functional.embedding(tokens + offsets, table).sum(1)
    expected = summed + position_table[positions].to(dtype)
    return out, expected.repeat_interleave(rows, 0)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("dtype", ERRORS)
def test_embeddings_are_those_of_pytorch(rows: int, dtype: torch.dtype) -> None:
    out, expected = case(rows, dtype)
    assert (out - expected).float().norm() <= ERRORS[dtype] * expected.float().norm()


def test_every_gpu_runs_it_without_spills(launches: list[Launch]) -> None:
    case(2, torch.float16)
    for binary in compile_all(launches, ALL_ARCHS):
        assert binary.stack_bytes == 0
        assert binary.registers <= 64
