"""Check 3: graphs against eager steps, the GPU against the CPU, narrow precisions against fp32."""

from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.capture import stepper
from benchmarks.gpu_check.measurement import Measurement, Setting, at_most, holds
from benchmarks.gpu_check.models import (
    CODEBOOKS,
    EMBEDDED,
    SIZES,
    begin,
    language_model,
    new_runner,
    step_shape,
)
from benchmarks.precision import PROMPTS, distributions
from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.engine.device import loading_dtype
from serve_app.engine.model_runner import ModelRunner
from serve_app.engine.sampler import exponential_noise, token_keys
from serve_app.engine.step_graphs import StepGraphs
from serve_app.models.musicgen.execution import ExecutionBackend, prepare_model
from serve_app.models.musicgen.model import MusicGen

_STEPS = 300
_COMPARED_STEPS = 100
_SLOTS = 3
_LOGITS = 1e-3
_LIKELY = -12.0  # logarithm of a probability
_KL_OF_KERNELS = 1e-3  # random weights of many layers enlarge the differences of rounding
_KL = {"fp16": 1e-4, "bf16": 1e-3}


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield equality of codes for each size and precision, and distances from the CPU's results."""
    for size in ("small",) if setting.tiny else SIZES:
        yield _graphs_equal_eager(size, "fp16", setting)
        yield _kernels_near_eager(size, setting)
    if not setting.tiny:
        yield _graphs_equal_eager("small", "bf16", setting)
    yield from _distances(setting)
    yield _noise(setting)


def _graphs_equal_eager(size: str, precision: str, setting: Setting) -> Measurement:
    model, backend = language_model(size, precision, setting)
    steps = 70 if setting.tiny else _STEPS
    runners = [new_runner(model, backend, _SLOTS, steps) for _ in range(2)]
    graphs = stepper(runners[0], _SLOTS, setting)
    eager = StepGraphs(runners[1].step, _SLOTS, runners[1].max_length, lambda work: work)
    first, second = (
        decode(runner, one, steps) for runner, one in zip(runners, (graphs, eager), strict=True)
    )
    equal = float((first == second).double().mean())
    name = f"{size}, {precision}: codes of {steps} steps by graphs as by eager steps"
    return holds(name, equal == 1.0, f"{equal:.2%} equal")


@torch.inference_mode()
def decode(runner: ModelRunner, graphs: StepGraphs, steps: int) -> Tensor:
    """Decode in all slots; return the codes [slots, K, frames] on the CPU."""
    slots = runner.max_slots
    begin(runner, slots, steps)
    for step in range(runner.max_steps):
        graphs.step(step_shape(slots, step))
    return torch.stack([runner.codes(slot, 0, steps) for slot in range(slots)]).cpu()


def _kernels_near_eager(size: str, setting: Setting) -> Measurement:
    """Compare the distributions of the device's own kernels with those of PyTorch's operations."""
    model, backend = language_model(size, "fp16", setting)
    eager = prepare_model(model, "fp16" if setting.on_gpu else "fp32", kernels="eager")
    steps = 20 if setting.tiny else _COMPARED_STEPS
    exact, codes = _log_probabilities(model, eager, steps)
    ours, _ = _log_probabilities(model, backend, steps, codes)
    name = f"{size}, fp16: KL divergence of the fused step from eager steps"
    return at_most(name, _kl(exact, ours), _KL_OF_KERNELS, "nats")


@torch.inference_mode()
def _log_probabilities(
    model: MusicGen, backend: ExecutionBackend, steps: int, codes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [steps, K, V] of the next codes, and the codes that were followed.

    codes: the codes to follow; None: the greedy ones.
    """
    runner = new_runner(model, backend, 1, steps)
    logits = runner._logits
    seen: list[Tensor] = []

    def record(*arguments: Any) -> Tensor:
        result = logits(*arguments)
        seen.append(result[0, 0].float().clone())
        return result

    begin(runner, 1, steps, temperature=0.0)
    with mock.patch.object(runner, "_logits", record):
        for step in range(runner.max_steps):
            if codes is not None and step:
                runner._state.tokens[0] = codes[:, step - 1]
            runner.step(step_shape(1, step))
    return F.log_softmax(torch.stack(seen), dim=-1), runner._state.history[0]


def _distances(setting: Setting) -> Iterator[Measurement]:
    """Yield distances of the trained embedded model's distributions from fp32 on the CPU."""
    prompts = PROMPTS[:1] if setting.tiny else PROMPTS
    exact = load_checkpoint(EMBEDDED)
    backend = prepare_model(exact.musicgen, "fp32")
    expected = [distributions(exact, backend, prompt) for prompt in prompts]
    for precision in ("fp32", "fp16") if setting.tiny else ("fp32", "fp16", "bf16"):
        found = _followed(precision, prompts, [codes for _, codes in expected], setting)
        pairs = list(zip((logs for logs, _ in expected), found, strict=True))
        if precision == "fp32":
            worst = max(float((a.exp() - b.exp()).abs().max()) for a, b in pairs)
            yield at_most("fp32 probabilities, GPU and CPU", worst, _LOGITS)
            likely = max(float((a - b)[a > _LIKELY].abs().max()) for a, b in pairs)
            yield at_most("fp32 logarithms of probabilities, likely codes", likely, _LOGITS)
        else:
            divergence = max(_kl(a, b) for a, b in pairs)
            yield at_most(f"KL divergence of {precision}", divergence, _KL[precision], "nats")


def _followed(
    precision: str, prompts: Sequence[str], codes: Sequence[Tensor], setting: Setting
) -> list[Tensor]:
    """Return the log-probabilities of each prompt along the given codes, on the device."""
    dtype = loading_dtype(precision, setting.device)
    model = load_checkpoint(EMBEDDED, dtype=dtype, device=setting.device)
    backend = prepare_model(model.musicgen, precision if setting.on_gpu else "fp32")
    return [
        distributions(model, backend, prompt, given.to(setting.device))[0].cpu()
        for prompt, given in zip(prompts, codes, strict=True)
    ]


def _kl(exact: Tensor, narrow: Tensor) -> float:
    divergence = F.kl_div(narrow, exact, log_target=True, reduction="sum") / exact[..., 0].numel()
    return max(0.0, float(divergence))


def _noise(setting: Setting) -> Measurement:
    """Compare the noise of the device with the CPU's, in units in the last place."""
    seeds = torch.tensor([0, 1, 2**31 + 5, 2**62 + 7])
    steps = torch.tensor([0, 1, 749, 100_000])
    keys = token_keys(CODEBOOKS, 2048)
    expected = exponential_noise(seeds, steps, keys)
    noise = exponential_noise(
        seeds.to(setting.device), steps.to(setting.device), keys.to(setting.device)
    )
    ulps = (expected.view(torch.int32) - noise.cpu().view(torch.int32)).abs().max()
    return at_most("noise, GPU and CPU", float(ulps), 1.0, "ulp")
