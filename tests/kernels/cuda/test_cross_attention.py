"""Decode cross-attention of the Triton kernel against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.kernels.cuda.cross_attention import cross_attention
from tests.kernels.cuda.compiled import ALL_ARCHS, compile_all
from tests.kernels.cuda.interpreter import interpreted

HEADS, HEAD_DIM, MAX_TOKENS = 2, 64, 256
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
LENGTHS = (1, 63, 64, 65, 20, 256)


def texts(lengths: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Keys and values [2, B, H, MAX_TOKENS, Dh], NaN beyond each text."""
    memory = torch.full((2, len(lengths), HEADS, MAX_TOKENS, HEAD_DIM), torch.nan, dtype=dtype)
    for slot, length in enumerate(lengths):
        memory[:, slot, :, :length] = torch.randn(2, HEADS, length, HEAD_DIM).to(dtype)
    return memory


def attended(query: Tensor, memory: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Each slot by itself, in fp32."""
    rows = []
    for slot, length in enumerate(lengths):
        keys, values = memory[:, slot, :, :length].float()
        q = query[slot].float().view(HEADS, 1, HEAD_DIM)
        rows.append(F.scaled_dot_product_attention(q, keys, values).flatten())
    return torch.stack(rows)


def last_tokens(lengths: tuple[int, ...]) -> Tensor:
    return torch.tensor(lengths) - 1


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_texts_of_any_length_are_attended_to(dtype: torch.dtype) -> None:
    memory = texts(LENGTHS, dtype)
    query = torch.randn(len(LENGTHS), HEADS * HEAD_DIM).to(dtype)
    y = cross_attention(query, memory[0], memory[1], last_tokens(LENGTHS))
    assert y.dtype == dtype
    expected = attended(query, memory, LENGTHS)
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=TOLERANCES[dtype])


def test_views_are_read_in_place() -> None:
    """The queries of conditional rows among all rows; some slots and tokens of all layers' texts."""
    lengths = (5, 17, 64)
    memory = texts(lengths)
    rows = torch.randn(2, 2, HEADS * HEAD_DIM)
    view = memory[:, 1:, :, :128]
    y = cross_attention(rows[:, 0], view[0], view[1], last_tokens(lengths)[1:])
    torch.testing.assert_close(y, attended(rows[:, 0], view, lengths[1:]), rtol=0, atol=1e-5)


def test_neighbours_and_the_covered_tokens_change_no_bit() -> None:
    lengths = (30, 130)
    memory = texts(lengths, torch.float16)
    query = torch.randn(2, HEADS * HEAD_DIM).half()
    together = cross_attention(query, memory[0], memory[1], last_tokens(lengths))
    first = memory[:, :1, :, :64]
    alone = cross_attention(query[:1], first[0], first[1], last_tokens(lengths)[:1])
    assert torch.equal(alone, together[:1])


def test_one_binary_serves_all_shapes() -> None:
    lengths = (1,) * 16
    memory = texts(lengths, torch.float16)
    rows = torch.zeros(16, 2, HEADS * HEAD_DIM, dtype=torch.float16)
    with interpreted(execute=False) as launches:
        for slots, tokens in ((1, 64), (3, 256), (16, 128)):
            view = memory[:, :slots, :, :tokens]
            for query in (rows[:slots, 0], rows[:slots, 0].contiguous()):
                cross_attention(query, view[0], view[1], last_tokens(lengths)[:slots])
    assert len(launches) == 6
    assert len({launch.variant() for launch in launches}) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_kernel_compiles_for_each_gpu(dtype: torch.dtype) -> None:
    archs = ALL_ARCHS if dtype == torch.float16 else (80, 90)
    memory = texts((3,), dtype)
    with interpreted(execute=False) as launches:
        query = torch.zeros(1, HEADS * HEAD_DIM, dtype=dtype)
        cross_attention(query, memory[0], memory[1], torch.tensor([2]))
    assert [launch.name for launch in launches] == ["attend_to_text"]
    for one in compile_all(launches, archs):
        assert one.stack_bytes == 0
        assert one.loads_in_flight == one.vector_loads > 0
        assert one.warps_on_sm >= 12
