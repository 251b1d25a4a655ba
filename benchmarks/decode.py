"""Milliseconds per decode step, beside AudioCraft's on the same random weights in the same process.

python -m benchmarks.decode --scale small --device cpu --precision fp32 fp16 int8 --steps 1500 --against audiocraft

The floor is what reading the weights once takes, at the speed that this machine reads memory in the same run.
"""

import argparse
import itertools
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import print_result
from serve_app.engine.device import loading_dtype
from serve_app.engine.model_runner import BatchShape, ModelRunner, bucket
from serve_app.models.audiocraft import musicgen_sources
from serve_app.models.cpu import fit_for_cpu, precision_of
from serve_app.models.musicgen import MusicGen, MusicGenConfig
from serve_app.models.tensor_store import TensorStore
from serve_app.models.transformer import TransformerConfig
from serve_app.types import SamplingParams

TEXT_TOKENS, TEXT_SIZE = 16, 768


@dataclass(frozen=True)
class Scale:
    hidden_size: int
    num_layers: int
    num_heads: int


SCALES = {
    "tiny": Scale(64, 2, 4),
    "small": Scale(1024, 24, 16),
    "medium": Scale(1536, 48, 24),
    "large": Scale(2048, 48, 32),
}
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
Run = Callable[[], list[float]]


def audiocraft_model(scale: Scale, text: Tensor) -> Any:
    """AudioCraft's language model of this scale, with random weights. `text` [1, tokens, TEXT_SIZE] stands for T5's
    output, so that no T5 is needed."""
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import BaseConditioner, ConditionFuser, ConditioningProvider, TextConditioner

    class EncodedText(TextConditioner):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseConditioner.__init__(self, TEXT_SIZE, scale.hidden_size)

        def tokenize(self, x: list[str | None]) -> dict[str, Tensor]:
            return {"mask": torch.tensor([[float(bool(prompt))] for prompt in x]).expand(-1, text.shape[1])}

        def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            mask = inputs["mask"]
            return self.output_proj(text.expand(len(mask), -1, -1)) * mask[..., None], mask

    fuser = ConditionFuser({"cross": ["description"], "prepend": [], "sum": [], "input_interpolate": []})
    return LMModel(
        DelayedPatternProvider(4), ConditioningProvider({"description": EncodedText()}), fuser, n_q=4, card=2048,
        dim=scale.hidden_size, num_heads=scale.num_heads, num_layers=scale.num_layers, hidden_scale=4, norm_first=True,
        bias_proj=False, bias_ff=False, bias_attn=False, causal=True, cross_attention=True, memory_efficient=True,
        activation="gelu", dropout=0.0, weight_init="gaussian", depthwise_init="current",
    ).eval()  # fmt: skip


def our_model(scale: Scale, state: dict[str, Tensor] | None, precision: str, device: torch.device) -> MusicGen:
    """This project's model with AudioCraft's weights, or with random ones."""
    hidden_size, dtype = scale.hidden_size, loading_dtype(precision, device)
    transformer = TransformerConfig(hidden_size, scale.num_layers, scale.num_heads, 4 * hidden_size)
    config = MusicGenConfig(transformer, 4, 2048, (0, 1, 2, 3), 1, TEXT_SIZE)
    if state is None:
        model = MusicGen(config).to(device=device, dtype=dtype)
    else:
        with torch.device("meta"):
            model = MusicGen(config)
        store = TensorStore("AudioCraft's model", state)
        store.fill(model, musicgen_sources(config, store), dtype, device)
    model.eval().requires_grad_(False)
    if device.type == "cpu":
        fit_for_cpu(model, precision)
    return model


def weight_bytes(model: MusicGen) -> int:
    """What a step reads: all weights but the embeddings, and those of the text's projections, which run once."""
    size = BYTES[precision_of(model)]
    d, layers = model.config.transformer.hidden_size, model.config.transformer.num_layers
    per_layer = 4 * d * d + 2 * d * d + 2 * d * model.config.transformer.ffn_dim
    return size * (layers * per_layer + d * model.config.num_codebooks * model.config.codebook_size)


def gigabytes_per_second(device: torch.device) -> float:
    """How fast all threads together read memory that is in no cache: the best of a few sums over 1 GiB."""
    memory = torch.ones(2**28, device=device)
    best = 0.0
    for _ in range(5):
        started_at = perf_counter()
        memory.sum().item()
        best = max(best, memory.nbytes / (perf_counter() - started_at) / 1e9)
    return best


def our_run(model: MusicGen, text: Tensor, steps: int, batch: int) -> Run:
    """Decodes `steps` steps of `batch` sequences; returns each step's seconds."""
    runner = ModelRunner(model, batch, steps, TEXT_TOKENS)
    nothing = torch.zeros(model.config.num_codebooks, 0, dtype=torch.int64)
    with torch.inference_mode():
        memory = model.project_text(text[0].to(model.embedding.weight))

    def run() -> list[float]:
        for slot in range(batch):
            runner.start(slot, memory, seed=slot, sampling=SamplingParams())
            runner.open_window(slot, nothing, steps)
        times = []
        for step in range(steps):
            started_at = perf_counter()
            length, tokens = bucket(step + 1), bucket(TEXT_TOKENS)
            runner.step(BatchShape(batch, length, tokens))
            if runner.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(perf_counter() - started_at)
        return times

    return run


def audiocraft_run(model: Any, steps: int, batch: int) -> Run:
    from audiocraft.modules.conditioners import ConditioningAttributes

    conditions = [ConditioningAttributes(text={"description": "music"}) for _ in range(batch)]

    def run() -> list[float]:
        marks = [perf_counter()]
        model.generate(
            conditions=conditions,
            max_gen_len=steps - max(model.pattern_provider.delays),
            callback=lambda *_: marks.append(perf_counter()),
        )
        return [after - before for before, after in itertools.pairwise(marks)]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description="Time per decode step.")
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--precision", choices=BYTES, nargs="+", default=["fp32", "fp16", "int8"],
        help="this project's; AudioCraft's is fp32 on a CPU",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=100, help="steps of a run (50 are a second of music)")
    parser.add_argument("--batch", type=int, default=1, help="sequences decoded together")
    parser.add_argument("--rounds", type=int, default=2, help="of each, in turns")
    parser.add_argument("--against", choices=["audiocraft", "nothing"], default="nothing")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    scale, device = SCALES[arguments.scale], torch.device(arguments.device)
    text = torch.randn(1, TEXT_TOKENS, TEXT_SIZE)
    runs: dict[str, Run] = {}
    state = None
    if arguments.against == "audiocraft":
        theirs = audiocraft_model(scale, text.to(device)).to(device)
        state = theirs.state_dict()
        runs["audiocraft"] = audiocraft_run(theirs, arguments.steps, arguments.batch)
    bandwidth = gigabytes_per_second(device)
    floors: dict[str, float] = {}
    for precision in arguments.precision:
        ours = our_model(scale, state, precision, device)
        runs[precision] = our_run(ours, text, arguments.steps, arguments.batch)
        floors[precision] = weight_bytes(ours) / bandwidth / 1e6

    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(arguments.rounds):
        for name, run in runs.items():
            print(f"round {round_number + 1} of {arguments.rounds}: {name} ...", file=sys.stderr, flush=True)
            times[name] += run()
    report(arguments, {name: 1000 * statistics.median(values) for name, values in times.items()}, floors, bandwidth)


def report(
    arguments: argparse.Namespace, ms_per_step: dict[str, float], floors: dict[str, float], bandwidth: float
) -> None:
    threads, theirs = torch.get_num_threads(), ms_per_step.get("audiocraft")
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{platform.machine()}, {threads} threads"
    print(f"{arguments.scale}, batch {arguments.batch}, {device}, {bandwidth:.1f} GB/s, torch {torch.__version__}\n")
    print("| | ms per step | x real time | against AudioCraft | of the floor |", "|---|---|---|---|---|", sep="\n")
    for name, value in ms_per_step.items():
        speedup = f"{theirs / value:.1f} x" if theirs else ""
        share = f"{floors[name] / value:.0%} of {floors[name]:.1f} ms" if name in floors else ""
        print(f"| {name} | {value:.2f} | {arguments.batch * 20 / value:.2f} | {speedup} | {share} |")
    speedups = {"speedup": {name: round(theirs / ms_per_step[name], 3) for name in floors}} if theirs else {}
    print_result(
        "decode",
        scale=arguments.scale,
        device=device,
        batch=arguments.batch,
        steps=arguments.steps,
        gigabytes_per_second=round(bandwidth, 2),
        ms_per_step={name: round(value, 3) for name, value in ms_per_step.items()},
        of_the_floor={name: round(floor / ms_per_step[name], 3) for name, floor in floors.items()},
        **speedups,
    )


if __name__ == "__main__":
    main()
