"""Decode self-attention of the Triton kernels against PyTorch's."""

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.kernels.cuda.attention import decode_attention
from serve_app.models.musicgen.int8_kv_cache import Int8KVCache, Int8LayerCache
from serve_app.models.musicgen.transformer import TransformerConfig, causal_masks
from tests.kernels.cuda.compiled import ALL_ARCHS, compile_all
from tests.kernels.cuda.interpreter import interpreted

HEADS, HEAD_DIM = 2, 64
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def spoilt_cache(slots: int, rows: int, capacity: int, dtype: torch.dtype) -> Tensor:
    """NaN at every position that a test leaves unset."""
    shape = (2, slots, rows * HEADS, capacity, HEAD_DIM)
    return torch.full(shape, torch.nan if dtype.is_floating_point else 99, dtype=dtype)


def filled(cache: Tensor, positions: list[int]) -> Tensor:
    for slot, position in enumerate(positions):
        cache[:, slot, :, :position] = torch.randn(cache[:, slot, :, :position].shape).to(cache)
    return cache


def attended(qkv: Tensor, positions: list[int], cache: Tensor) -> Tensor:
    """Each slot by itself, in fp32, from a cache in which the new keys and values are."""
    rows = []
    for slot, position in enumerate(positions):
        q, k, v = qkv[slot].float().transpose(0, 1).flatten(1, 2)
        keys, values = cache[:, slot, :, :position].float()
        keys = torch.cat([keys, k[:, None]], dim=1)
        values = torch.cat([values, v[:, None]], dim=1)
        rows.append(F.scaled_dot_product_attention(q[:, None], keys, values)[:, 0])
    return torch.stack(rows).view(len(positions) * qkv.shape[1], -1)


def new_positions(slots: int, rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(slots, rows, 3, HEADS, HEAD_DIM).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("rows", [1, 2])
def test_slots_of_any_length_attend_to_themselves(rows: int, dtype: torch.dtype) -> None:
    positions = [0, 62, 63, 64, 299, 127, 128]
    qkv = new_positions(len(positions), rows, dtype)
    cache = filled(spoilt_cache(len(positions), rows, 320, dtype), positions)
    before = cache.clone()
    expected = attended(qkv, positions, cache)
    y = decode_attention(qkv, torch.tensor(positions), cache, None, 320)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=TOLERANCES[dtype])
    for slot, position in enumerate(positions):
        stored = cache[:, slot, :, position]
        assert torch.equal(stored, qkv[slot].transpose(0, 1)[1:].flatten(1, 2))
        before[:, slot, :, position] = stored
    assert torch.equal(cache.nan_to_num(7), before.nan_to_num(7)), "the rest is as it was"


def test_a_whole_window_is_attended_to() -> None:
    cache = filled(spoilt_cache(1, 1, 1536, torch.float32), [1502])
    qkv = new_positions(1, 1)
    expected = attended(qkv, [1502], cache)
    y = decode_attention(qkv, torch.tensor([1502]), cache, None, 1536)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


def test_a_part_of_a_larger_cache_is_read_in_place() -> None:
    """The view of a batch: some slots, one of two rows, some positions."""
    whole = spoilt_cache(5, 2, 512, torch.float32)
    view = whole[:, 1:3, :HEADS, :192]
    positions = [100, 170]
    filled(view, positions)
    qkv = new_positions(2, 1)
    expected = attended(qkv, positions, view)
    y = decode_attention(qkv, torch.tensor(positions), view, None, 512)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)
    assert torch.equal(whole[0, 2, :HEADS, 170], qkv[1, 0, 1])
    assert whole[:, 0].isnan().all()
    assert whole[:, 1:3, HEADS:].isnan().all()


def test_neighbours_and_the_covered_length_change_no_bit() -> None:
    positions = torch.tensor([150, 3, 310])
    cache = filled(spoilt_cache(3, 2, 512, torch.float16), positions.tolist())
    qkv = new_positions(3, 2, torch.float16)
    together = decode_attention(qkv, positions, cache[..., :320, :], None, 512)
    for slot in range(3):
        one = slice(slot, slot + 1)
        for length in (320, 384, 512):
            view = cache[:, one, :, :length]
            alone = decode_attention(qkv[one], positions[one], view, None, 512)
            assert torch.equal(alone, together[2 * slot : 2 * slot + 2])


@pytest.mark.parametrize("bits", [8, 16])
def test_one_binary_serves_all_shapes(bits: int) -> None:
    """Two variants could sum in different orders, which the interpreter does not show."""
    dtype = torch.int8 if bits == 8 else torch.float16
    with interpreted(execute=False) as launches:
        for slots, rows, length in ((1, 1, 64), (1, 2, 1536), (3, 1, 640), (16, 2, 256)):
            cache = spoilt_cache(16, 2, 1536, dtype)[:, :slots, : rows * HEADS, :length]
            scales = torch.zeros(2, 16, 2 * HEADS, 1536)[:, :slots, : rows * HEADS, :length]
            qkv = new_positions(slots, rows, torch.float16)
            given = scales if bits == 8 else None
            decode_attention(qkv, torch.zeros(slots).long(), cache, given, 1536)
    assert len(launches) == 8
    assert len({launch.variant() for launch in launches}) == 2, "one of each kernel"


def test_64_slots_are_served_at_once() -> None:
    positions = torch.arange(64)
    cache = filled(spoilt_cache(64, 2, 64, torch.float16), positions.tolist())
    qkv = new_positions(64, 2, torch.float16)
    expected = attended(qkv, positions.tolist(), cache)
    y = decode_attention(qkv, positions, cache, None, 64)
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=1e-3)


def test_a_slot_with_nan_spoils_no_other() -> None:
    positions = [40, 40]
    cache = filled(spoilt_cache(2, 1, 64, torch.float32), positions)
    cache[:, 0] = torch.nan
    qkv = new_positions(2, 1)
    expected = attended(qkv, positions, cache)
    y = decode_attention(qkv, torch.tensor(positions), cache, None, 64)
    assert y[0].isnan().all()
    torch.testing.assert_close(y[1], expected[1], rtol=0, atol=1e-5)


def test_an_8_bit_cache_gets_what_pytorch_stores_and_gives_what_it_gives() -> None:
    """Fills a cache position by position, in both ways; the last positions are in two splits."""
    transformer = TransformerConfig(HEADS * HEAD_DIM, 1, HEADS, 64)
    caches = [Int8KVCache(transformer, 2, 2, 128, torch.device("cpu")) for _ in range(2)]
    reference, ours = (cast(Int8LayerCache, cache.narrow(slice(2), 2, 128)[0]) for cache in caches)
    known = new_positions(62, 2)
    mask = causal_masks(128, torch.float32, torch.device("cpu"))
    for layer in (reference, ours):
        at = torch.zeros(62, dtype=torch.int64), torch.arange(62)
        layer_of_slot = Int8LayerCache(layer.memory[:, :1], layer.scales[:, :1], 2)
        layer_of_slot.attend(known, at, mask[at[1]][None, None])
    ours.memory[:, 0, :, 62:] = 99
    ours.scales[:, 0, :, 62:] = torch.nan
    for first, second in ((62, 0), (63, 1), (64, 2)):
        positions = torch.tensor([first, second])
        qkv = new_positions(2, 2)
        qkv[1, 1, 2, 0] = 0  # a value of zeros
        expected = reference.attend(
            qkv, (torch.arange(2), positions), mask[positions][:, None, None]
        )
        y = decode_attention(qkv, positions, ours.memory, ours.scales, 128)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)
    assert torch.equal(ours.memory[..., :65, :][:, 0], reference.memory[..., :65, :][:, 0])
    assert torch.equal(ours.scales[:, 1, :, :3], reference.scales[:, 1, :, :3])


@pytest.mark.parametrize(
    ("dtype", "bits"), [(torch.float16, 16), (torch.bfloat16, 16), (torch.float16, 8)]
)
def test_the_kernels_compile_for_each_gpu(dtype: torch.dtype, bits: int) -> None:
    """Without spills, with 16-byte loads of the cache, and with enough warps to hide the memory's latency."""
    archs = ALL_ARCHS if dtype == torch.float16 else (80, 90)
    with interpreted(execute=False) as launches:
        cache = spoilt_cache(16, 2, 1536, dtype if bits == 16 else torch.int8)
        scales = cache[..., 0].float() if bits == 8 else None
        decode_attention(new_positions(16, 2, dtype), torch.zeros(16).long(), cache, scales, 1536)
    assert [launch.name for launch in launches] == ["attend_split", "combine_splits"]
    for one in compile_all(launches, archs):
        assert one.stack_bytes == 0
        assert not one.tensor_cores
        assert one.loads_in_flight == one.vector_loads > 0
        assert one.warps_on_sm >= 12
