"""The CUDA backend's steps, interpreted on a CPU: the eager path's codes."""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from serve_app.engine.bucket import bucket
from serve_app.engine.drawing import Draw, kernel_draw
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.kernels.cpu.packing import unpack_int8
from serve_app.kernels.cpu.products import QuantizedWeight
from serve_app.kernels.cuda import products
from serve_app.kernels.cuda.products import Tile
from serve_app.models.musicgen.conditioning import ConditioningSpec, Conditions
from serve_app.models.musicgen.cpu_layers import CpuLinear
from serve_app.models.musicgen.cuda_backend import CudaBackend
from serve_app.models.musicgen.cuda_layers import CudaLinear
from serve_app.models.musicgen.execution import ExecutionBackend, torch_backend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.types import SamplingParams
from tests.kernels.cuda.compiled import HOPPER, Launch
from tests.kernels.cuda.interpreter import interpreted

HIDDEN, LAYERS, HEADS, FFN = 128, 2, 2, 520  # the product of FFN inputs is split
CODEBOOKS, VOCABULARY, TEXT_SIZE = 2, 80, 8
DELAYS = (0, 1)
MAX_TEXT, MAX_SLOTS = 6, 3
PROCESSORS = 12
FRAMES = 26
SECOND, THIRD, FOURTH = 13, 19, 22  # steps after which further sequences start
NONE = torch.zeros(CODEBOOKS, 0, dtype=torch.int64)


@pytest.fixture(autouse=True)
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Launch]]:
    """The launches of the test so far. Wide tiles make few programs, each of which the interpreter takes long for."""
    monkeypatch.setattr(products, "tile_of", lambda *_: Tile(16, 128, 128, 4, 1))
    with interpreted() as launches:
        yield launches


def new_model(spec: ConditioningSpec | None = None, biases: bool = False) -> MusicGen:
    transformer = TransformerConfig(HIDDEN, LAYERS, HEADS, FFN, biases, biases)
    config = MusicGenConfig(
        transformer,
        CODEBOOKS,
        VOCABULARY,
        DELAYS,
        1,
        TEXT_SIZE,
        bias_heads=biases,
        conditioning=spec or ConditioningSpec(),
    )
    model = MusicGen(config).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.add_(0.2 * torch.randn(parameter.shape))
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
    return model


def new_runner(model: MusicGen, backend: ExecutionBackend, draw: Draw | None = None) -> ModelRunner:
    backend.prepare(model)
    return ModelRunner(model, backend, MAX_SLOTS, FRAMES, MAX_TEXT, draw)


def fused(model: MusicGen, precision: str = "fp32") -> ModelRunner:
    """A runner whose whole step is kernels, the draw included."""
    draw = kernel_draw(MAX_SLOTS, model.embedding.weight.device)
    return new_runner(model, CudaBackend(model, precision, PROCESSORS), draw)


def eager(model: MusicGen) -> ModelRunner:
    return new_runner(model, torch_backend(model))


def texts(model: MusicGen) -> list[Conditions]:
    rng = torch.Generator().manual_seed(5)
    with torch.inference_mode():
        return [
            model.conditions(torch.randn(tokens, TEXT_SIZE, generator=rng) if tokens else None)
            for tokens in (MAX_TEXT, 1, 0)
        ]


def start(
    runner: ModelRunner, slot: int, text: Conditions, sampling: SamplingParams, codes: Tensor = NONE
) -> None:
    runner.start(slot, text, sampling)
    runner.open_window(slot, codes, FRAMES)
    runner.prefill(slot)


def decode(runner: ModelRunner) -> list[Tensor]:
    """Codes of a busy batch, guided once its second sequence has come.

    Three sequences start one after the other. The second ends. Another, which begins with its codes, takes its slot.
    """
    first, second, third = texts(runner.model)
    start(runner, 0, first, SamplingParams(seed=1, cfg_coef=1.0))
    codes: list[Tensor] = []
    slots = 1
    for step in range(FRAMES + DELAYS[-1]):
        if step == SECOND:
            start(runner, 1, second, SamplingParams(seed=2, top_k=0, top_p=0.9))
            slots = 2
        if step == THIRD:
            start(runner, 2, third, SamplingParams(seed=3, temperature=0.0))
            slots = 3
        if step == FOURTH:
            codes.append(runner.codes(1, 0, FOURTH - SECOND - DELAYS[-1]))
            runner.stop(1)
            start(runner, 1, first, SamplingParams(seed=4), codes[0])
        runner.step(BatchShape(slots, bucket(step + 1), MAX_TEXT, guided=slots > 1))
    lengths = (FRAMES, FRAMES - SECOND - DELAYS[-1], FRAMES - THIRD)
    return codes + [runner.codes(slot, 0, length) for slot, length in enumerate(lengths)]


def test_steps_draw_the_eager_paths_codes() -> None:
    model = new_model()
    expected = decode(eager(model))
    assert len({codes.numpy().tobytes() for codes in expected}) == len(expected)
    runner = fused(model)
    for found, codes in zip(decode(runner), expected, strict=True):
        assert torch.equal(found, codes)
    assert all(runner.is_finite(slot) for slot in range(MAX_SLOTS))


def logits(runner: ModelRunner, slots: int, steps: int = 2, guided: bool = True) -> Tensor:
    """Logits of the last of a few steps with given codes; the slots' positions differ."""
    model = runner.model
    for slot in range(slots):
        text = texts(model)[slot] if model.config.conditioning.cross_attention else Conditions()
        codes = torch.arange(CODEBOOKS * slot).view(CODEBOOKS, slot) % VOCABULARY
        start(runner, slot, text, SamplingParams(seed=slot, temperature=0.0), codes)
    shape = BatchShape(slots, 64, MAX_TEXT, guided)
    for _ in range(steps - 1):
        runner.step(shape)
        runner._state.tokens[:slots] = torch.arange(CODEBOOKS) + torch.arange(slots)[:, None]
    with torch.inference_mode():
        return runner._logits(runner._state.narrow(slots), shape).float()


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("spec", "biases", "guided"),
    [
        (ConditioningSpec(), True, True),
        (ConditioningSpec(), True, False),
        (ConditioningSpec(branches=1), False, True),
        (ConditioningSpec(text="prefix"), False, True),
    ],
    ids=["biases", "unguided", "one branch", "without cross-attention"],
)
def test_every_kind_of_model_computes_the_eager_paths_logits(
    spec: ConditioningSpec, biases: bool, guided: bool
) -> None:
    model = new_model(spec, biases)
    expected = logits(eager(model), 2, guided=guided)
    found = logits(fused(model), 2, guided=guided)
    assert found.shape == expected.shape
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_is_near_the_eager_path(dtype: torch.dtype, error: float) -> None:
    model = new_model()
    exact = logits(eager(model), 2)
    model.to(dtype)
    assert relative_error(logits(eager(model), 2), exact) < error
    assert relative_error(logits(fused(model), 2), exact) < error


def test_int8_weights_are_stored_once_and_prefills_read_them_too() -> None:
    model = new_model()
    expected = logits(eager(model), 2)
    quantized = copy.deepcopy(model)
    runner = fused(quantized, "int8")
    linears = [module for module in quantized.modules() if isinstance(module, CudaLinear)]
    assert len(linears) == 7 * LAYERS + 1
    assert {linear.qweight.dtype for linear in linears} == {torch.int8}
    assert (
        sum(parameter.numel() for parameter in quantized.layers.parameters()) == 6 * LAYERS * HIDDEN
    )
    assert relative_error(logits(runner, 2), expected) < 0.05
    dequantized = logits(new_runner(quantized, torch_backend(quantized)), 2)
    assert relative_error(logits(runner, 2), dequantized) < 1e-5, "the same weights in both"


def test_int8_weights_are_those_of_a_cpu() -> None:
    linear = new_model().heads
    on_gpu = CudaLinear(linear)
    qweight, scales = cast(QuantizedWeight, CpuLinear(linear, "int8").stored)
    assert torch.equal(on_gpu.qweight, torch.from_numpy(unpack_int8(qweight, HIDDEN)))
    assert torch.equal(on_gpu.scales, torch.from_numpy(scales))


def test_a_neighbour_changes_no_bit() -> None:
    model = new_model().half()
    alone = logits(fused(model), 1)
    assert torch.equal(logits(fused(model), 3)[:1], alone)


@torch.inference_mode()
def test_a_step_with_cross_attention_needs_texts() -> None:
    model = new_model()
    runner = fused(model)
    runner._texts = None
    with pytest.raises(ValueError, match="without a text"):
        runner.step(BatchShape(1, 64, MAX_TEXT))


def test_a_step_is_nine_kernels_a_layer_and_three_besides(launches: list[Launch]) -> None:
    runner = fused(new_model())
    runner.step(BatchShape(2, 64, MAX_TEXT))
    names = Counter(launch.name for launch in launches)
    of_layer = {"product_kernel": 6, "attend_split": 1, "combine_splits": 1, "attend_to_text": 1}
    besides = {"embedding_kernel": 1, "product_kernel": 1, "draw_kernel": 1}
    assert names == Counter(LAYERS * list(Counter(of_layer).elements())) + Counter(besides)


def test_kernels_of_a_step_that_overlap_wait_before_they_touch_what_others_write(
    launches: list[Launch],
) -> None:
    """By programmatic dependent launch, from Hopper on: a kernel starts before the one before it ends."""
    fused(new_model().half()).step(BatchShape(3, 64, MAX_TEXT))
    by_variant = {launch.variant(): launch for launch in launches}
    assert "norm_kernel" in {one.name for one in launches}
    for launch in by_variant.values():
        ptx = launch.compile(HOPPER).ptx
        before, waited, after = ptx.partition("griddepcontrol.wait")
        assert waited, launch.name
        assert "griddepcontrol.wait" not in after
        assert "st.global" not in before
        reads = "ld.global" in before or "cp.async" in before
        assert reads == (launch.name == "norm_kernel"), "gains and shifts alone are read before"
        assert ("launch_dependents" in after) == (launch.name != "draw_kernel")
