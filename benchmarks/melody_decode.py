"""Steps and prefills of a melody model, beside a text model of the same width.

`python -m benchmarks.decode --family melody` prints, of each precision, the milliseconds of a step
of both at equal contexts, the time of a prefill, and the longest time from step to step that a
running track sees while another one is prefilled. All weights are random.
"""

import argparse
import itertools
import statistics
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.peers import SCALES, TEXT_SIZE, Scale
from benchmarks.report import print_result, print_round, print_table
from serve_app.engine.bucket import bucket
from serve_app.engine.device import loading_dtype
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.engine.slices import run_slice
from serve_app.engine.step_graphs import CudaStepper
from serve_app.models.chroma import MelodyConfig
from serve_app.models.musicgen.conditioning import ConditioningSpec, Conditions
from serve_app.models.musicgen.execution import prepare_model
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.types import SamplingParams

MELODY = MelodyConfig()
TEXT_TOKENS = 20
CONTEXT = MELODY.chroma_length + TEXT_TOKENS  # positions before the first measured step
AHEAD = 8  # steps of the running track before its neighbour's prefill


@dataclass
class Decoder:
    """Two slots of a model that decodes after CONTEXT positions.

    given [K, n]: codes that make up the context where no prefix does.
    """

    runner: ModelRunner
    stepper: ModelRunner | CudaStepper
    conditions: dict[str, Conditions]
    given: Tensor
    frames: int

    def start(self, slot: int, kind: str) -> None:
        """Start a track: with a `melody`, or with a `text` alone."""
        self.runner.start(slot, self.conditions[kind], SamplingParams(seed=slot))
        self.runner.open_window(slot, self.given, self.frames)

    def prefill_s(self, kind: str) -> float:
        """Return the seconds from nothing to the first step."""
        started_at = self.runner.clock()
        self.start(0, kind)
        self.runner.prefill(0)
        return self.runner.clock() - started_at

    def step(self, slots: int, done: int) -> None:
        tokens = min(bucket(TEXT_TOKENS), self.runner.max_text_tokens)
        self.stepper.step(BatchShape(slots, bucket(CONTEXT + done + 1), tokens))

    def steps_s(self, steps: int) -> list[float]:
        """Return the seconds of each step of the first slot."""
        marks = [self.runner.clock()]
        for done in range(steps):
            self.step(1, done)
            marks.append(self.runner.clock())
        return [after - before for before, after in itertools.pairwise(marks)]

    def gaps_s(self, step_s: float) -> list[float]:
        """Return the seconds from step to step of a track, while a melody is prefilled beside it."""
        self.prefill_s("text")
        done = 0
        for _ in range(AHEAD):
            self.step(1, done)
            done += 1
        self.start(1, "melody")
        before = self.runner.clock()
        gaps = []
        while self.runner.prefill(1, 0):
            run_slice(partial(self.runner.prefill, 1, 1), step_s, self.runner.clock)
            self.step(1, done)
            done += 1
            now = self.runner.clock()
            gaps.append(now - before)
            before = now
        self.runner.stop(1)
        return gaps


def decoder(
    scale: Scale, precision: str, device: torch.device, frames: int, melody: bool
) -> Decoder:
    """Build a model with random weights, for `frames` frames after the context."""
    width = scale.hidden_size
    transformer = TransformerConfig(width, scale.num_layers, scale.num_heads, 4 * width)
    config = MusicGenConfig(transformer, 4, 2048, (0, 1, 2, 3), 1, TEXT_SIZE)
    if melody:
        spec = ConditioningSpec(text="prefix", prefix_positions=MELODY.chroma_length)
        config = MusicGenConfig(
            transformer, 4, 2048, (0, 1, 2, 3), 1, TEXT_SIZE, conditioning=spec, melody=MELODY
        )
    model = MusicGen(config).to(device=device, dtype=loading_dtype(precision, device))
    model.eval().requires_grad_(False)
    backend = prepare_model(model, precision)
    given = torch.randint(2048, (4, 0 if melody else CONTEXT))
    frames += given.shape[1]
    runner = ModelRunner(model, backend, 2, frames, TEXT_TOKENS)
    runner.compute_template()
    graphs = device.type == "cuda"
    stepper = CudaStepper(runner.step, 2, runner.max_length) if graphs else runner
    return Decoder(runner, stepper, conditions_of(model, melody), given, frames)


@torch.inference_mode()
def conditions_of(model: MusicGen, melody: bool) -> dict[str, Conditions]:
    """Return the conditions of a text alone, and of a text with a melody."""
    text = torch.randn(TEXT_TOKENS, TEXT_SIZE).to(model.embedding.weight)
    if not melody:
        return {"text": model.conditions(text)}
    chroma = torch.randint(MELODY.num_chroma, (MELODY.chroma_length,))
    heard = model.conditions(text, model.leading(chroma))
    return {
        "text": model.conditions(text, model.leading(None)),
        "melody": heard._replace(melody=True),
    }


def measure(arguments: argparse.Namespace, precision: str) -> dict[str, float]:
    """Return one precision's figures."""
    scale = SCALES[arguments.scale]
    device = torch.device(arguments.device)
    frames = arguments.steps + 4 * scale.num_layers * (CONTEXT // 16 + 8)  # of units at the most
    by_text = decoder(scale, precision, device, frames, melody=False)
    by_melody = decoder(scale, precision, device, frames, melody=True)
    text_s: list[float] = []
    melody_s: list[float] = []
    prefill_s: list[float] = []
    text_prefill_s: list[float] = []
    gaps_s: list[float] = []
    for number in range(1, arguments.rounds + 1):
        print_round(number, arguments.rounds, precision)
        by_text.prefill_s("text")
        text_s += by_text.steps_s(arguments.steps)
        prefill_s.append(by_melody.prefill_s("melody"))
        melody_s += by_melody.steps_s(arguments.steps)
        text_prefill_s.append(by_melody.prefill_s("text"))
        gaps_s += by_melody.gaps_s(statistics.median(melody_s))
    step_s = statistics.median(melody_s)
    return {
        "ms per step": 1000 * step_s,
        "of text's": step_s / statistics.median(text_s),
        "prefill, ms": 1000 * min(prefill_s),
        "without melody": 1000 * min(text_prefill_s),
        "median gap, ms": 1000 * statistics.median(gaps_s),
        "largest gap, ms": 1000 * max(gaps_s),
    }


def main(arguments: argparse.Namespace) -> None:
    """Print a table, and the figures as JSON."""
    figures = {precision: measure(arguments, precision) for precision in arguments.precision}
    rounded = {
        precision: {name: float(f"{value:.4g}") for name, value in row.items()}
        for precision, row in figures.items()
    }
    print(f"{arguments.scale}, {CONTEXT} positions before the codes\n")
    print_table(rounded)
    print_result("decode", family="melody", scale=arguments.scale, figures=rounded)
