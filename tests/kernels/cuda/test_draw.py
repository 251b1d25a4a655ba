"""The draw kernel against the eager sampler: equal codes, flags and places."""

import pytest
import torch
import triton.language as tl
from torch import Tensor

from serve_app.engine.sampler import apply_cfg, draw, exponential_noise, token_keys
from serve_app.kernels.cuda.compilation import jit
from serve_app.kernels.cuda.draw import TO_DRAW, SlotTensors, draw_step
from serve_app.kernels.cuda.draw import exponential_noise as kernel_noise
from tests.kernels.cuda.compiled import ALL_ARCHS, compile_all
from tests.kernels.cuda.interpreter import interpreted

STEPS = 12
SAMPLING: dict[str, list[float]] = {  # a column for each slot
    "temperature": [1.0, 0.0, 0.7, 1.3, 1.0, 1e-9],
    "top_k": [250, 250, 0, 0, 1, 10],
    "top_p": [0.0, 0.0, 0.9, 0.0, 0.0, 1.0],
    "cfg_coef": [3.0, 3.0, 1.0, 2.5, 0.0, 3.0],
    "seed": [1, 2, 2**62 + 5, 2**63 - 1, 0, 6],
}


def sampling_of(slots: int) -> dict[str, Tensor]:
    """The parameters of the first slots, repeated as often as needed."""
    return {
        name: torch.tensor([values[slot % len(values)] for slot in range(slots)])
        for name, values in SAMPLING.items()
    }


def slot_tensors(slots: int, codebooks: int) -> SlotTensors:
    """Slots at different steps and frames, with nothing drawn."""
    return SlotTensors(
        tokens=torch.zeros(slots, codebooks, dtype=torch.int64),
        steps=torch.arange(slots) % STEPS,
        first_frame=torch.arange(slots) * 7,
        active=torch.ones(slots, dtype=torch.int64),
        finite=torch.ones(slots, dtype=torch.bool),
        history=torch.full((slots, codebooks, STEPS), TO_DRAW),
        arrived=torch.zeros(slots, dtype=torch.int32),
    )


def eager(logits: Tensor, sampling: dict[str, Tensor], slots: SlotTensors) -> Tensor:
    """The eager sampler's codes [S, K] at the slots' places."""
    keys = token_keys(*logits.shape[2:])
    guided = apply_cfg(logits, sampling["cfg_coef"])
    return draw(guided, sampling, slots.steps + slots.first_frame, keys)


@pytest.mark.parametrize(
    ("dtype", "rows", "codebooks", "vocabulary"),
    [
        (torch.float32, 2, 4, 2048),
        (torch.float16, 2, 4, 2048),
        (torch.bfloat16, 1, 8, 64),
        (torch.float16, 2, 4, 50),
    ],
)
def test_codes_are_the_eager_samplers(
    dtype: torch.dtype, rows: int, codebooks: int, vocabulary: int
) -> None:
    sampling = sampling_of(6)
    for _ in range(2):
        logits = (4 * torch.randn(6, rows, codebooks, vocabulary)).to(dtype)
        slots = slot_tensors(6, codebooks)
        expected = eager(logits, sampling, slots)
        draw_step(logits, sampling, slots)
        assert torch.equal(slots.tokens, expected)


def test_ties_are_the_eager_samplers() -> None:
    """Few values, among them both zeros: equal logits at the cut are kept, the first largest wins."""
    sampling = sampling_of(6)
    sampling["cfg_coef"][:] = 1
    logits = torch.randn(6, 1, 4, 512).round() * torch.tensor([1.0, -1.0]).repeat(256)
    assert (logits == 0).sum() > 1000
    assert len(set(logits[logits == 0].signbit().tolist())) == 2
    slots = slot_tensors(6, 4)
    expected = eager(logits, sampling, slots)
    draw_step(logits, sampling, slots)
    assert torch.equal(slots.tokens, expected)


def test_zeros_of_both_signs_are_equal() -> None:
    """The first code is kept; the others tie with it."""
    sampling = {name: values[:1].repeat(64) for name, values in sampling_of(1).items()}
    sampling["top_k"][:] = 1
    sampling["seed"] = torch.arange(64)
    logits = torch.tensor([0.0, -0.0]).repeat(32).expand(64, 1, 1, 64)
    slots = slot_tensors(64, 1)
    expected = eager(logits, sampling, slots)
    draw_step(logits, sampling, slots)
    assert torch.equal(slots.tokens, expected)
    assert len(set(expected.flatten().tolist())) > 20


def test_an_unguided_slot_does_not_depend_on_its_unconditional_row() -> None:
    sampling = sampling_of(6)
    sampling["cfg_coef"][:] = 1
    logits = torch.randn(6, 2, 4, 64)
    logits[:3, 1] *= 1e9
    logits[3:, 1] = torch.nan
    slots = slot_tensors(6, 4)
    expected = eager(logits, sampling, slots)
    draw_step(logits, sampling, slots)
    assert torch.equal(slots.tokens, expected)
    assert slots.finite.all()


def test_given_codes_stay_and_all_is_written_at_the_slots_place() -> None:
    sampling = sampling_of(6)
    logits = torch.randn(6, 2, 4, 64)
    slots = slot_tensors(6, 4)
    slots.history[:, 1] = torch.arange(STEPS)
    slots.history[2] = 64  # the special token
    slots.active[3] = 0
    before = slots.history.clone()
    expected = eager(logits, sampling, slots)
    expected[:, 1] = slots.steps
    expected[2] = 64
    draw_step(logits, sampling, slots)
    assert torch.equal(slots.tokens, expected)
    before.scatter_(2, torch.arange(6)[:, None, None].expand(-1, 4, 1), expected[:, :, None])
    assert torch.equal(slots.history, before)
    assert slots.steps.tolist() == [1, 2, 3, 3, 5, 6]
    assert slots.arrived.tolist() == [0] * 6


def test_views_of_wider_tensors_are_advanced_in_place() -> None:
    """Slots beyond the batch, and logits with padding between their rows, as in a padded batch."""
    sampling = sampling_of(6)
    wide = torch.randn(9, 2, 4, 100)
    slots = slot_tensors(9, 4)
    first = SlotTensors(*(tensor[:6] for tensor in slots))
    expected = eager(wide[:6, :, :, :64], sampling, first)
    draw_step(wide[:6, :, :, :64], sampling, first)
    assert torch.equal(slots.tokens[:6], expected)
    assert (slots.tokens[6:] == 0).all()
    assert (slots.history[6:] == TO_DRAW).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of numpy
@pytest.mark.parametrize(
    ("bad", "codes"), [(torch.nan, 1), (torch.nan, 50), (torch.inf, 1), (-torch.inf, 50)]
)
def test_a_slot_that_is_not_finite_is_flagged_and_changes_no_other(bad: float, codes: int) -> None:
    """A codebook without a finite logit counts as well; the slot's codes stay in the vocabulary."""
    sampling = sampling_of(4)
    logits = torch.randn(4, 1, 4, 50)
    slots = slot_tensors(4, 4)
    expected = eager(logits, sampling, slots)
    logits[2, 0, 3, :codes] = bad
    draw_step(logits, sampling, slots)
    assert slots.finite.tolist() == [True, True, False, True]
    others = torch.tensor([0, 1, 3])
    assert torch.equal(slots.tokens[others], expected[others])
    assert slots.tokens[2].max() < 50
    assert slots.tokens[2].min() >= 0
    assert slots.steps.tolist() == [1, 2, 3, 4]


def test_one_impossible_code_is_finite() -> None:
    logits = torch.randn(1, 1, 4, 64)
    logits[0, 0, :, 5] = -torch.inf
    slots = slot_tensors(1, 4)
    draw_step(logits, sampling_of(1), slots)
    assert slots.finite.all()


@jit
def store_noise(
    seeds: tl.tensor, steps: tl.tensor, out: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr
) -> None:
    at = tl.program_id(0)
    counter = tl.arange(0, BLOCK)
    noise = kernel_noise(tl.load(seeds + at), tl.load(steps + at), counter)
    tl.store(out + at * size + counter, noise, counter < size)


def test_noise_is_the_eager_samplers_bit_for_bit() -> None:
    seeds = torch.tensor([0, 1, 2**31, 2**32 - 1, 2**32, 2**62 + 5, 2**63 - 1])
    steps = torch.tensor([0, 1, 1502, 2**31, 2**32 + 3, 9, 6000])
    out = torch.empty(7, 8192)
    store_noise[(7,)](seeds, steps, out, 8192, BLOCK=8192)
    assert torch.equal(out, exponential_noise(seeds, steps, token_keys(4, 2048)).flatten(1))


def test_each_gpu_has_a_binary_without_spills() -> None:
    """T4 included. Logarithms are CUDA's, and guidance is no fused multiply-add."""
    logits = torch.empty(4, 2, 4, 2048, dtype=torch.float16)
    with interpreted(execute=False) as recorded:
        draw_step(logits, sampling_of(4), slot_tensors(4, 4))
    binaries = compile_all(recorded, ALL_ARCHS)
    assert len(binaries) == len(ALL_ARCHS)
    for one in binaries:
        assert one.stack_bytes == 0
        assert one.registers <= 128
        assert one.shared_bytes <= 4096
        assert "lg2.approx" not in one.ptx
        assert "div.rn.f32" in one.ptx
