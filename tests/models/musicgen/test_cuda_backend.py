"""The CUDA backend's steps, interpreted on a CPU: the eager path's codes."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from serve_app.engine.model_runner import BatchShape, ModelRunner, bucket
from serve_app.kernels.cuda import products
from serve_app.kernels.cuda.products import Tile
from serve_app.models.musicgen.conditioning import Conditions, ConditioningSpec
from serve_app.models.musicgen.cuda_backend import CudaBackend
from serve_app.models.musicgen.cuda_layers import CudaLinear
from serve_app.models.musicgen.execution import ExecutionBackend, torch_backend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.types import SamplingParams
from tests.kernels.cuda.compiled import Launch
from tests.kernels.cuda.interpreter import interpreted

HIDDEN, LAYERS, HEADS, FFN = 128, 2, 2, 520  # the product of FFN inputs is split
CODEBOOKS, VOCABULARY, TEXT_SIZE = 4, 40, 8
MAX_TEXT, MAX_SLOTS = 6, 3
PROCESSORS = 12
FRAMES = 50
SECOND, THIRD, FOURTH = 18, 32, 38  # steps after which further sequences start
NONE = torch.zeros(CODEBOOKS, 0, dtype=torch.int64)


@pytest.fixture(autouse=True)
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Launch]]:
    """The launches of the test so far. Wide tiles make few programs, each of which the interpreter takes long for."""
    monkeypatch.setattr(products, "tile_of", lambda _: Tile(16, 128, 4, 1))
    with interpreted() as launches:
        yield launches


def new_model(spec: ConditioningSpec | None = None, biases: bool = False) -> MusicGen:
    transformer = TransformerConfig(HIDDEN, LAYERS, HEADS, FFN, biases, biases)
    config = MusicGenConfig(
        transformer,
        CODEBOOKS,
        VOCABULARY,
        (0, 1, 2, 3),
        1,
        TEXT_SIZE,
        bias_heads=biases,
        conditioning=spec or ConditioningSpec(),
    )
    model = MusicGen(config).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter += 0.2 * torch.randn(parameter.shape)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
    return model


def new_runner(model: MusicGen, backend: ExecutionBackend) -> ModelRunner:
    backend.prepare(model)
    return ModelRunner(model, backend, MAX_SLOTS, FRAMES, MAX_TEXT)


def eager_and_fused(model: MusicGen) -> list[ModelRunner]:
    backends: list[ExecutionBackend] = [
        torch_backend(model),
        CudaBackend(model, "fp32", PROCESSORS),
    ]
    return [new_runner(model, backend) for backend in backends]


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


def decode(runner: ModelRunner) -> list[Tensor]:
    """Codes of a busy batch, guided once its second sequence has come.

    Three sequences start one after the other. The second ends, and another, which begins with its codes, takes its slot.
    """
    first, second, third = texts(runner.model)
    start(runner, 0, first, SamplingParams(seed=1, cfg_coef=1.0))
    codes: list[Tensor] = []
    slots = 1
    for step in range(FRAMES + 3):
        if step == SECOND:
            start(runner, 1, second, SamplingParams(seed=2, top_k=0, top_p=0.9))
            slots = 2
        if step == THIRD:
            start(runner, 2, third, SamplingParams(seed=3, temperature=0.0))
            slots = 3
        if step == FOURTH:
            codes.append(runner.codes(1, 0, FOURTH - SECOND - 3))
            runner.stop(1)
            start(runner, 1, first, SamplingParams(seed=4), codes[0])
        runner.step(BatchShape(slots, bucket(step + 1), MAX_TEXT, guided=slots > 1))
    lengths = (FRAMES, FRAMES - SECOND - 3, FRAMES - THIRD)
    return codes + [runner.codes(slot, 0, length) for slot, length in enumerate(lengths)]


def test_fifty_steps_draw_the_eager_paths_codes() -> None:
    eager, fused = eager_and_fused(new_model())
    expected = decode(eager)
    assert len({codes.numpy().tobytes() for codes in expected}) == len(expected)
    for found, codes in zip(decode(fused), expected, strict=True):
        assert torch.equal(found, codes)
    assert all(fused.is_finite(slot) for slot in range(MAX_SLOTS))
