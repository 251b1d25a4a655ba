"""The language model equals AudioCraft's and transformers' on the same random weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.models.musicgen.execution import torch_backend
from serve_app.types import SamplingParams
from tests.architectures import AUDIOCRAFT, HUGGINGFACE
from tests.oracles import PROMPT, Oracle, load_pair

FRAMES = 40
CASES = [("audiocraft", a) for a in AUDIOCRAFT] + [("transformers", a) for a in HUGGINGFACE]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}, {case[1].name}")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hub_cache: Path
) -> tuple[Checkpoint, Oracle]:
    kind, architecture = request.param
    return load_pair(kind, architecture, tmp_path_factory.mktemp("checkpoint"), hub_cache)


def greedy(
    checkpoint: Checkpoint,
    prompt: str,
    frames: int,
    on_step: Callable[[ModelRunner], None] | None = None,
) -> Tensor:
    """Greedy codes [K, frames] of a lone sequence."""
    musicgen = checkpoint.musicgen
    conditioner = Conditioner(checkpoint.text_encoder, musicgen, max_tokens=64, cache_size=4)
    runner = ModelRunner(musicgen, torch_backend(musicgen), 1, frames, max_text_tokens=64)
    text = conditioner.encode_here(conditioner.tokenize(prompt))
    runner.start(0, conditioner.condition(text), SamplingParams(temperature=0.0))
    runner.open_window(0, torch.zeros(musicgen.config.num_codebooks, 0, dtype=torch.int64), frames)
    for _ in range(runner.max_steps):
        runner.step(BatchShape(1, runner.max_length, runner.max_text_tokens))
        if on_step is not None:
            on_step(runner)
    return runner.codes(0, 0, frames)


def test_greedy_codes_equal_the_oracles(pair: tuple[Checkpoint, Oracle]) -> None:
    checkpoint, oracle = pair
    codes = greedy(checkpoint, PROMPT, FRAMES)
    assert len(set(codes.flatten().tolist())) > 5, "the weights should not collapse to a few codes"
    assert torch.equal(codes, oracle.generate(PROMPT, FRAMES))


def test_logits_equal_the_oracles(
    pair: tuple[Checkpoint, Oracle], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, oracle = pair
    seen: list[Tensor] = []
    logits = checkpoint.musicgen.logits

    def record(hidden_states: Tensor) -> Tensor:
        seen.append(logits(hidden_states))
        return seen[-1]

    monkeypatch.setattr(checkpoint.musicgen, "logits", record)
    codes = greedy(checkpoint, PROMPT, FRAMES)
    expected = oracle.logits(PROMPT, codes)
    torch.testing.assert_close(
        torch.stack(seen, dim=2), expected[:, :, : len(seen)], rtol=0, atol=1e-4
    )


def test_another_prompt_gives_other_codes(pair: tuple[Checkpoint, Oracle]) -> None:
    checkpoint, _ = pair
    assert not torch.equal(
        greedy(checkpoint, PROMPT, FRAMES), greedy(checkpoint, "loud techno drums", FRAMES)
    )
