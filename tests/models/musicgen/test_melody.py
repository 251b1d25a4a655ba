"""A melody model equals AudioCraft's and transformers' on the same random weights."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.engine.device import loading_dtype
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.models.chroma import chroma, fit
from serve_app.models.musicgen.conditioning import Conditions
from serve_app.models.musicgen.execution import ExecutionBackend, prepare_model, torch_backend
from serve_app.types import SamplingParams
from tests.architectures import MELODY, STEREO_MELODY, write_huggingface
from tests.oracles import PROMPT, AudioCraftOracle, Oracle, TransformersOracle, load_pair

FRAMES = 30
KINDS = ["audiocraft", "transformers"]
CASES = [(kind, one) for kind in KINDS for one in (MELODY, STEREO_MELODY)]
COMBINATIONS = [(PROMPT, True), (PROMPT, False), (None, True), (None, False)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}, {case[1].name}")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hub_cache: Path
) -> tuple[Checkpoint, Oracle]:
    kind, architecture = request.param
    return load_pair(kind, architecture, tmp_path_factory.mktemp("checkpoint"), hub_cache)


def melody(seconds: float, lowest_hz: float = 110.0) -> Tensor:
    """A rising tone at the models' sample rate."""
    samples = round(seconds * MELODY.sample_rate)
    hertz = lowest_hz * 8 ** torch.linspace(0, 1, samples)
    return 0.5 * (2 * math.pi * torch.cumsum(hertz, 0) / MELODY.sample_rate).sin()


def conditions_of(checkpoint: Checkpoint, prompt: str | None, heard: Tensor | None) -> Conditions:
    musicgen = checkpoint.musicgen
    config = musicgen.config.melody
    assert config is not None
    frames = None if heard is None else fit(chroma(heard, config), config.chroma_length)
    tokens = checkpoint.text_encoder.tokenize(prompt) if prompt else []
    text = checkpoint.text_encoder(tokens) if tokens else None
    conditions = musicgen.conditions(text, musicgen.leading(frames))
    return conditions._replace(melody=heard is not None)


@torch.inference_mode()
def greedy(
    checkpoint: Checkpoint,
    prompt: str | None,
    heard: Tensor | None,
    backend: ExecutionBackend | None = None,
) -> Tensor:
    """Greedy codes [K, FRAMES] of a lone sequence."""
    musicgen = checkpoint.musicgen
    backend = backend or torch_backend(musicgen)
    runner = ModelRunner(musicgen, backend, 1, FRAMES, max_text_tokens=64)
    runner.start(0, conditions_of(checkpoint, prompt, heard), SamplingParams(temperature=0.0))
    nothing = torch.zeros(musicgen.config.num_codebooks, 0, dtype=torch.int64)
    runner.open_window(0, nothing, FRAMES)
    runner.prefill(0)
    for _ in range(runner.max_steps):
        runner.step(BatchShape(1, runner.max_length, runner.max_text_tokens))
    return runner.codes(0, 0, FRAMES)


@pytest.mark.parametrize(("prompt", "has_melody"), COMBINATIONS)
def test_greedy_codes_equal_the_oracles(
    pair: tuple[Checkpoint, Oracle], prompt: str | None, has_melody: bool
) -> None:
    checkpoint, oracle = pair
    if isinstance(oracle, TransformersOracle) and prompt is None:
        pytest.skip("transformers conditions on the end-of-sequence token of an empty prompt")
    heard = melody(12) if has_melody else None
    codes = greedy(checkpoint, prompt, heard)
    assert len(set(codes.flatten().tolist())) > 8, "the weights should not collapse to a few codes"
    expected = oracle.generate(prompt, FRAMES, melody=heard)  # type: ignore[arg-type]
    assert torch.equal(codes, expected)


def test_conditions_change_the_oracle_s_codes(pair: tuple[Checkpoint, Oracle]) -> None:
    """Some versions of transformers ignored both, so that equality would say nothing."""
    _, oracle = pair
    codes = [
        oracle.generate(PROMPT, FRAMES),
        oracle.generate("loud techno drums", FRAMES),
        oracle.generate(PROMPT, FRAMES, melody=melody(12)),
        oracle.generate(PROMPT, FRAMES, melody=melody(12, lowest_hz=150.0)),
    ]
    assert len({tuple(one.flatten().tolist()) for one in codes}) == len(codes)


@pytest.mark.parametrize("seconds", [0.1, 40.0])
def test_short_and_long_melodies_equal_the_oracles(
    pair: tuple[Checkpoint, Oracle], seconds: float
) -> None:
    checkpoint, oracle = pair
    expected = oracle.generate(PROMPT, FRAMES, melody=melody(seconds))
    assert torch.equal(greedy(checkpoint, PROMPT, melody(seconds)), expected)


@pytest.mark.parametrize(("prompt", "has_melody"), COMBINATIONS)
def test_logits_equal_audiocrafts(
    pair: tuple[Checkpoint, Oracle],
    prompt: str | None,
    has_melody: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint, oracle = pair
    if not isinstance(oracle, AudioCraftOracle):
        pytest.skip("greedy codes are compared")
    seen: list[Tensor] = []
    logits = checkpoint.musicgen.logits

    def record(hidden_states: Tensor) -> Tensor:
        seen.append(logits(hidden_states))
        return seen[-1]

    monkeypatch.setattr(checkpoint.musicgen, "logits", record)
    heard = melody(5) if has_melody else None
    codes = greedy(checkpoint, prompt, heard)
    expected = oracle.logits(prompt, codes, heard)
    torch.testing.assert_close(
        torch.stack(seen, dim=2), expected[:, :, : len(seen)], rtol=0, atol=1e-4
    )


COMPILES = pytest.mark.long  # for 20 s
HALF = [pytest.param(name, marks=COMPILES) for name in ("fp16", "bf16")]


@pytest.mark.parametrize("precision", ["fp32", *HALF, "int8"])
def test_every_precision_of_a_cpu_hears_the_melody(tmp_path: Path, precision: str) -> None:
    """The weights are narrowed; the projection of the melody stays as it is."""
    folder = str(write_huggingface(MELODY, tmp_path / "model"))
    exact = load_checkpoint(folder)
    narrow = load_checkpoint(folder, dtype=loading_dtype(precision, torch.device("cpu")))
    backend = prepare_model(narrow.musicgen, precision)
    heard = melody(3)
    expected = conditions_of(exact, PROMPT, heard).prefix
    prefix = conditions_of(narrow, PROMPT, heard).prefix
    assert expected is not None
    assert prefix is not None
    assert torch.equal(prefix, expected)
    codes = greedy(narrow, PROMPT, heard, backend)
    assert not torch.equal(codes, greedy(narrow, PROMPT, None, backend))
    if precision == "fp32":
        assert torch.equal(codes, greedy(exact, PROMPT, heard))
