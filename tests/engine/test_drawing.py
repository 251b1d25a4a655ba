"""The end of a step: the Triton kernel, interpreted, decodes the codes of PyTorch's operations."""

import shutil

import pytest
import torch
from torch import Tensor

from serve_app.engine import drawing
from serve_app.engine.drawing import (
    Draw,
    draws_by_kernel,
    eager_draw,
    kernel_draw,
    select_draw,
)
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.slot_state import empty_state
from serve_app.kernels.cuda import draw as draw_kernels
from serve_app.models.musicgen.execution import Kernels, torch_backend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.types import SamplingParams
from tests.kernels.cuda.interpreter import interpreted

CPU = torch.device("cpu")
FRAMES = 12
CONFIG = MusicGenConfig(
    transformer=TransformerConfig(32, num_layers=2, num_heads=4, ffn_dim=64),
    num_codebooks=4,
    codebook_size=48,
    delays=(0, 1, 2, 3),
    audio_channels=1,
    text_hidden_size=16,
)
REQUESTS = [
    SamplingParams(seed=3),
    SamplingParams(seed=4, temperature=0.8, top_p=0.9, cfg_coef=1.0),
    SamplingParams(seed=5, temperature=0.0),
]


@pytest.fixture(scope="module")
def model() -> MusicGen:
    torch.manual_seed(0)
    return MusicGen(CONFIG).eval()


def decode(model: MusicGen, draw: Draw) -> Tensor:
    """Codes [slots, K, FRAMES] of REQUESTS, which join the batch one by one; the second is continued."""
    runner = ModelRunner(model, torch_backend(model), len(REQUESTS), FRAMES, 8, draw)
    given = torch.arange(4 * 5).view(4, 5)
    ends = []
    for slot, sampling in enumerate(REQUESTS):
        with torch.inference_mode():
            conditions = model.conditions(torch.randn(3, 16, generator=torch.manual_seed(slot)))
        runner.start(slot, conditions, sampling)
        prefix = given if slot == 1 else given[:, :0]
        ends.append(FRAMES + 3 - runner.open_window(slot, prefix, FRAMES))
        runner.prefill(slot)
        runner.step(BatchShape(slot + 1, 64, 64))
        ends = [end - 1 for end in ends]
    while any(end > 0 for end in ends):
        for slot in [slot for slot, end in enumerate(ends) if end == 0]:
            runner.stop(slot)
        runner.step(BatchShape(len(REQUESTS), 64, 64))
        ends = [end - 1 for end in ends]
    assert all(runner.is_finite(slot) for slot in range(len(REQUESTS)))
    return torch.stack([runner.codes(slot, 0, FRAMES) for slot in range(len(REQUESTS))])


def test_the_kernel_decodes_the_codes_of_pytorchs_operations(model: MusicGen) -> None:
    expected = decode(model, eager_draw(CONFIG, CPU))
    with interpreted() as launches:
        codes = decode(model, kernel_draw(len(REQUESTS), CPU))
    assert torch.equal(codes, expected)
    assert expected.max() < CONFIG.codebook_size
    assert len({tuple(row.flatten().tolist()) for row in expected}) == len(REQUESTS)
    assert len(launches) >= FRAMES, "one kernel a step"


def test_a_codebook_without_a_possible_code_is_not_finite() -> None:
    state = empty_state(CONFIG, 2, FRAMES, CPU)
    logits = torch.randn(2, 1, 4, CONFIG.codebook_size)
    logits[1, 0, 2] = -torch.inf
    eager_draw(CONFIG, CPU)(logits, state)
    assert state.finite.tolist() == [True, False]


def test_both_mark_codes_to_draw_alike() -> None:
    assert drawing.TO_DRAW == draw_kernels.TO_DRAW


@pytest.mark.parametrize(
    ("capability", "possible"), [((7, 0), False), ((7, 5), True), ((9, 0), True)]
)
def test_the_kernel_runs_on_a_t4_and_later(
    capability: tuple[int, int], possible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert draws_by_kernel(torch.device("cuda")) is possible
    assert not draws_by_kernel(CPU)


@pytest.mark.parametrize("missing", ["triton", "compiler"])
def test_the_kernel_needs_triton_and_a_compiler(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    assert draws_by_kernel(torch.device("cuda"))
    if missing == "triton":
        monkeypatch.setattr(drawing, "find_spec", lambda _name: None)
    else:
        monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert not draws_by_kernel(torch.device("cuda"))


def test_a_gpu_of_another_maker_draws_by_pytorchs_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch for ROCm calls AMD's GPUs cuda, too."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 4))
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert not draws_by_kernel(torch.device("cuda"))


@pytest.mark.parametrize(
    ("kernels", "by_kernel"), [("auto", True), ("triton", True), ("eager", False)]
)
def test_a_gpu_with_triton_draws_by_kernel_unless_told_otherwise(
    kernels: Kernels, by_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert select_draw(kernels, 3, CPU) is None, "a CPU has none"
    monkeypatch.setattr(drawing, "draws_by_kernel", lambda _device: True)
    assert (select_draw(kernels, 3, CPU) is not None) is by_kernel
