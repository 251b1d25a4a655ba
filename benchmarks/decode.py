"""Measure milliseconds per decode step, beside AudioCraft and transformers in the same process.

python -m benchmarks.decode [--family text] [--scale small] [--device cpu] [--against audiocraft transformers]

All weights are random, and AudioCraft's are this project's. The floor is the time to read the
weights once, at the memory bandwidth measured in the same run. The last line is JSON.
"""

import argparse
import platform
import statistics
import sys
from time import perf_counter

import torch
from torch import Tensor

from benchmarks import melody_decode
from benchmarks.peers import (
    SCALES,
    TEXT_SIZE,
    TEXT_TOKENS,
    Run,
    Scale,
    audiocraft_model,
    audiocraft_run,
    transformers_run,
)
from benchmarks.report import print_result, print_round
from serve_app.checkpoints.audiocraft import musicgen_sources
from serve_app.checkpoints.tensor_store import TensorStore
from serve_app.engine.bucket import bucket
from serve_app.engine.device import configure_device, loading_dtype
from serve_app.engine.drawing import select_draw
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.step_graphs import CudaStepper
from serve_app.errors import ConfigError
from serve_app.models.musicgen.execution import ExecutionBackend, prepare_model
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.types import SamplingParams

PEERS = ["audiocraft", "transformers"]
DEFAULT_PRECISIONS = ["fp32", "fp16", "int8"]
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


def our_model(
    scale: Scale, state: dict[str, Tensor] | None, precision: str, device: torch.device
) -> tuple[MusicGen, ExecutionBackend]:
    """Return this project's model, with AudioCraft's weights or random ones, and its backend."""
    hidden_size = scale.hidden_size
    dtype = loading_dtype(precision, device)
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
    return model, prepare_model(model, precision)


def weight_bytes(model: MusicGen, precision: str) -> int:
    """Return the bytes of weights that a step reads.

    Excluded: the embeddings, of which it reads a few rows, and the projections of the text, which
    run once per track.
    """
    size = BYTES[precision]
    d = model.config.transformer.hidden_size
    layers = model.config.transformer.num_layers
    per_layer = 4 * d * d + 2 * d * d + 2 * d * model.config.transformer.ffn_dim
    return size * (layers * per_layer + d * model.config.num_codebooks * model.config.codebook_size)


def gigabytes_per_second(device: torch.device) -> float:
    """Memory bandwidth of all threads together: the best of five sums over 1 GiB."""
    memory = torch.ones(2**28, device=device)
    best = 0.0
    for _ in range(5):
        started_at = perf_counter()
        memory.sum().item()
        best = max(best, memory.nbytes / (perf_counter() - started_at) / 1e9)
    return best


def our_run(
    model: MusicGen, backend: ExecutionBackend, text: Tensor, steps: int, batch: int
) -> Run:
    """Return a run of `steps` steps of `batch` sequences, as the engine runs them."""
    draw = select_draw("auto", batch, model.embedding.weight.device)
    runner = ModelRunner(model, backend, batch, steps, TEXT_TOKENS, draw)
    stepper = (
        CudaStepper(runner.step, batch, runner.max_length)
        if runner.device.type == "cuda"
        else runner
    )
    nothing = torch.zeros(model.config.num_codebooks, 0, dtype=torch.int64)
    with torch.inference_mode():
        conditions = model.conditions(text[0].to(model.embedding.weight))

    def run() -> list[float]:
        for slot in range(batch):
            runner.start(slot, conditions, SamplingParams(seed=slot))
            runner.open_window(slot, nothing, steps)
        times = []
        for step in range(steps):
            started_at = perf_counter()
            stepper.step(BatchShape(batch, bucket(step + 1), bucket(TEXT_TOKENS)))
            times.append(perf_counter() - started_at)
        return times

    return run


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(0)
    configure_device(torch.device(arguments.device))
    if arguments.family == "melody":
        melody_decode.main(arguments)
        return
    runs, sizes = build_runs(arguments)
    ms_per_step, bandwidth = measure(runs, arguments.rounds, torch.device(arguments.device))
    floors = {precision: size / bandwidth / 1e6 for precision, size in sizes.items()}
    report(arguments, ms_per_step, floors, bandwidth)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decode", description="Measure milliseconds per decode step."
    )
    parser.add_argument(
        "--family", choices=["text", "melody"], default="text",
        help="melody: a melody model's steps and prefills beside a text model's, one sequence each",
    )  # fmt: skip
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--precision", choices=BYTES, nargs="+",
        default=DEFAULT_PRECISIONS,
        help="precisions of this project's weights; AudioCraft's are fp32 on a CPU",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=100, help="steps per run (50 per second of music)"
    )
    parser.add_argument("--batch", type=int, default=1, help="sequences decoded together")
    parser.add_argument("--rounds", type=int, default=2, help="interleaved runs of each")
    parser.add_argument("--against", choices=PEERS, nargs="*", default=[])
    return parser.parse_args()


def build_runs(arguments: argparse.Namespace) -> tuple[dict[str, Run], dict[str, int]]:
    """Return the runs by peer and precision, and the bytes of weights per step by precision."""
    scale = SCALES[arguments.scale]
    device = torch.device(arguments.device)
    text = torch.randn(1, TEXT_TOKENS, TEXT_SIZE)
    runs: dict[str, Run] = {}
    state = None
    if "audiocraft" in arguments.against:
        theirs = audiocraft_model(scale, text.to(device)).to(device)
        state = theirs.state_dict()
        runs["audiocraft"] = audiocraft_run(theirs, arguments.steps, arguments.batch)
    if "transformers" in arguments.against:
        runs["transformers"] = transformers_run(scale, device, arguments.steps, arguments.batch)
    sizes: dict[str, int] = {}
    for precision in arguments.precision:
        try:
            ours, backend = our_model(scale, state, precision, device)
        except ConfigError as error:  # as int8 on a T4
            print(f"{precision} is left out. {error.message}", file=sys.stderr)
            continue
        runs[precision] = our_run(ours, backend, text, arguments.steps, arguments.batch)
        sizes[precision] = weight_bytes(ours, precision)
    return runs, sizes


def measure(
    runs: dict[str, Run], rounds: int, device: torch.device
) -> tuple[dict[str, float], float]:
    """Return the median milliseconds per step of each run, and the memory bandwidth in GB/s."""
    bandwidth = 0.0
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        bandwidth = max(bandwidth, gigabytes_per_second(device))
        for name, run in runs.items():
            print_round(number, rounds, name)
            times[name] += run()
    return {name: 1000 * statistics.median(values) for name, values in times.items()}, bandwidth


def report(
    arguments: argparse.Namespace,
    ms_per_step: dict[str, float],
    floors: dict[str, float],
    bandwidth: float,
) -> None:
    """Print the setting, a table, and the figures as JSON."""
    device = _device_name(arguments.device)
    setting = f"{arguments.scale}, batch {arguments.batch}, {device}, {bandwidth:.1f} GB/s"
    print(f"{setting}, torch {torch.__version__}\n")
    peers = [name for name in PEERS if name in ms_per_step]
    _print_steps(ms_per_step, floors, peers, arguments.batch)
    print_result(
        "decode",
        scale=arguments.scale,
        device=device,
        batch=arguments.batch,
        steps=arguments.steps,
        gigabytes_per_second=round(bandwidth, 2),
        ms_per_step={name: round(value, 3) for name, value in ms_per_step.items()},
        of_the_floor={
            name: float(f"{floor / ms_per_step[name]:.3g}") for name, floor in floors.items()
        },
        speedup={
            peer: {name: round(ms_per_step[peer] / ms_per_step[name], 3) for name in floors}
            for peer in peers
        },
    )


def _device_name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _print_steps(
    ms_per_step: dict[str, float], floors: dict[str, float], peers: list[str], batch: int
) -> None:
    """Print one row per run. A step makes 20 ms of music of each sequence of the batch."""
    against = [f"against {name}" for name in peers]
    columns = ["", "ms per step", "x real time", *against, "of the floor"]
    print(f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", sep="\n")
    for name, value in ms_per_step.items():
        cells = [name, f"{value:.2f}", f"{batch * 20 / value:.2f}"]
        cells += [f"{ms_per_step[peer] / value:.1f} x" for peer in peers]
        cells.append(
            f"{floors[name] / value:.0%} of {floors[name]:.1f} ms" if name in floors else ""
        )
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
