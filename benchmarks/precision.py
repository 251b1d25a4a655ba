"""Measure the divergence of narrow weights, keys and values from fp32, on the embedded model.

python -m benchmarks.precision

The measure is the KL divergence of the next codes' distributions along the fp32 model's greedy
codes, in nats, and the agreement of the likeliest codes. Both are means over prompts, steps and
codebooks. The last line is JSON.
"""

import copy
import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import print_result
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.models.musicgen.execution import (
    ExecutionBackend,
    KVCacheFormat,
    prepare_model,
    torch_backend,
)
from serve_app.types import SamplingParams

FRAMES = 150
PROMPTS = (
    "lofi beat",
    "calm ambient piano, 70 bpm",
    "happy bells, driving drums, 140 bpm",
)  # shorter prompts leave more entropy


def distributions(
    checkpoint: Checkpoint, backend: ExecutionBackend, prompt: str, codes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [steps, K, V] of the next codes, and the codes.

    codes: the codes to follow; None: the greedy ones.
    """
    musicgen = checkpoint.musicgen
    seen: list[Tensor] = []
    conditioner = Conditioner(checkpoint.text_encoder, musicgen, max_tokens=64, cache_size=4)
    runner = ModelRunner(musicgen, backend, max_slots=1, max_frames=FRAMES, max_text_tokens=64)
    logits = runner._logits

    def record(*arguments: Any) -> Tensor:
        seen.append(logits(*arguments))
        return seen[-1]

    runner._logits = record  # type: ignore[assignment, method-assign]
    text = conditioner.encode_here(conditioner.tokenize(prompt))
    runner.start(0, conditioner.condition(text), SamplingParams(temperature=0.0))
    nothing = torch.zeros(musicgen.config.num_codebooks, 0, dtype=torch.int64)
    runner.open_window(0, nothing, FRAMES)
    for step in range(runner.max_steps):
        if codes is not None and step:
            runner._state.tokens[0] = codes[:, step - 1]
        runner.step(BatchShape(1, runner.max_length, runner.max_text_tokens))
    logits_of_steps = torch.stack(seen)[:, 0, 0].float()
    return F.log_softmax(logits_of_steps, dim=-1), runner._state.history[0]


def narrowed(
    checkpoint: Checkpoint, precision: str, kv_cache: KVCacheFormat = "auto"
) -> tuple[Checkpoint, ExecutionBackend]:
    """Return a copy with weights, keys and values of this precision, and its backend."""
    other = copy.deepcopy(checkpoint)
    return other, prepare_model(other.musicgen, precision, kv_cache=kv_cache)


def compare(
    checkpoint: Checkpoint, precision: str, kv_cache: KVCacheFormat = "auto"
) -> tuple[float, float]:
    """Return a precision's KL divergence from the exact model, and its agreement with it."""
    other, backend = narrowed(checkpoint, precision, kv_cache)
    exact_backend = torch_backend(checkpoint.musicgen)
    divergences = []
    agreements = []
    for prompt in PROMPTS:
        exact, codes = distributions(checkpoint, exact_backend, prompt)
        narrow, _ = distributions(other, backend, prompt, codes)
        divergences.append(
            F.kl_div(narrow, exact, log_target=True, reduction="sum") / exact[..., 0].numel()
        )
        agreements.append((exact.argmax(-1) == narrow.argmax(-1)).float().mean())
    return float(torch.stack(divergences).mean()), float(torch.stack(agreements).mean())


def main() -> None:
    logging.disable(logging.WARNING)
    nano = load_checkpoint("embedded:musicgen-nano")
    figures = {precision: compare(nano, precision) for precision in ("fp16", "bf16", "int8")}
    figures["fp32, kv_cache int8"] = compare(nano, "fp32", "int8")
    print("| weights | KL divergence | same code |", "|---|---|---|", sep="\n")
    for precision, (divergence, agreement) in figures.items():
        print(f"| {precision} | {max(divergence, 0.0):.1e} | {agreement:.1%} |")
    found = {
        name: {"kl": divergence, "agreement": agreement}
        for name, (divergence, agreement) in figures.items()
    }
    print_result("precision", figures=found)


if __name__ == "__main__":
    main()
