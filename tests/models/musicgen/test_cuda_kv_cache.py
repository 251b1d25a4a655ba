"""Steps on the attention kernel, interpreted on a CPU, against the same model in PyTorch."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.models.musicgen.cuda_backend import CudaBackend
from serve_app.models.musicgen.execution import ExecutionBackend, TorchBackend
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.types import SamplingParams
from tests.kernels.cuda.compiled import Launch
from tests.kernels.cuda.interpreter import interpreted

LAYERS, SLOTS, STEPS, FRAMES = 2, 2, 5, 80
PROMPT = 62  # frames: the steps cross a split's end
SAMPLED = SamplingParams(seed=3)


@pytest.fixture(autouse=True)
def launches() -> Iterator[list[Launch]]:
    """The launches of the test so far."""
    with interpreted() as launches:
        yield launches


@pytest.fixture
def model() -> MusicGen:
    transformer = TransformerConfig(hidden_size=64, num_layers=LAYERS, num_heads=1, ffn_dim=128)
    model = MusicGen(MusicGenConfig(transformer, 2, 40, (0, 1), 1, 8)).requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
    return model


def codes(model: MusicGen, backend: ExecutionBackend) -> torch.Tensor:
    """Codes [S, K, PROMPT + STEPS] of two sequences, of which one begins with given codes."""
    backend.prepare(model)
    runner = ModelRunner(model, backend, SLOTS, FRAMES, max_text_tokens=6)
    given = torch.randint(40, (2, PROMPT), generator=torch.Generator().manual_seed(1))
    for slot, prompt in enumerate((given, given[:, :0])):
        text = torch.randn(3 + slot, 8, generator=torch.Generator().manual_seed(slot))
        with torch.inference_mode():
            runner.start(slot, model.conditions(text), SAMPLED)
        runner.open_window(slot, prompt, FRAMES)
        runner.prefill(slot)
    for _ in range(STEPS):
        runner.step(BatchShape(SLOTS, 128, runner.max_text_tokens))
    return runner._state.history[:, :, : PROMPT + STEPS]


@pytest.mark.parametrize("int8_cache", [False, True])
def test_the_models_own_layers_attend_by_the_kernel(
    model: MusicGen, launches: list[Launch], int8_cache: bool
) -> None:
    weight = model.embedding.weight
    expected = codes(model, TorchBackend(weight, int8_cache))
    assert launches == []
    ours = codes(model, TorchBackend(weight, int8_cache, attention_kernel=True))
    assert torch.equal(ours, expected)
    assert [launch.name for launch in launches].count("attend_split") == STEPS * LAYERS
    assert len(set(expected[1].flatten().tolist())) > 5, (
        "the codes are those of music, not one code"
    )


def test_the_fused_step_reads_an_8_bit_cache(model: MusicGen, launches: list[Launch]) -> None:
    expected = codes(model, TorchBackend(model.embedding.weight, int8_cache=True))
    ours = codes(model, CudaBackend(model, "fp32", processors=4, int8_cache=True))
    assert torch.equal(ours, expected)
    assert any(launch.kwargs.get("QUANTIZED") for launch in launches)
