"""Resumable training loop with a checkpoint file and a plot, and its command line."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import matplotlib
import torch
from torch import Tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LOG_EVERY = 50  # steps
PRINT_S = 4.0  # seconds between two lines of progress
SAVE_S = 45.0  # seconds between two checkpoints
Row = tuple[float, ...]
Values = tuple[Tensor, ...]


class Training:
    """A model and its optimizer, saved in NAME.pt.

    NAME.png plots `columns`: means of the values that `update` returns, then those of `evaluate`.
    Values are scalars on the model's device, which are read only every LOG_EVERY steps, so that a
    GPU runs ahead of Python.
    """

    def __init__(
        self, file: Path, model: Any, optimizer: torch.optim.Optimizer, columns: Sequence[str]
    ) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._model = model
        self._optimizer = optimizer
        self._columns = columns
        self._history: list[Row] = []
        self.first_step = 0
        if file.exists():
            self._resume()

    def _resume(self) -> None:
        device = next(self._model.parameters()).device
        saved = torch.load(self._file, map_location=device, weights_only=True)
        self._model.load_state_dict(saved["model"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._history = saved["history"]
        self.first_step = saved["step"]
        print(f"{self._file.stem}: resumed at step {self.first_step}", flush=True)

    def run(
        self,
        steps: int,
        learning_rate: Callable[[int], float],
        update: Callable[[int], Values],
        evaluate: Callable[[], Values] = tuple,
    ) -> None:
        """Call `update` for each remaining step, and `evaluate` every LOG_EVERY steps.

        Raises SystemExit where a value is not finite; the last checkpoint stays.
        """
        recent: list[Values] = []
        progress = Progress(self._file.stem, self.first_step, steps)
        saved_at = perf_counter()
        for step in range(self.first_step, steps):
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(step)
            recent.append(update(step))
            done = step + 1
            if done % LOG_EVERY == 0:
                progress.show(done, self._log(done, recent, evaluate()))
                recent.clear()
            if done == steps or (not recent and perf_counter() - saved_at > SAVE_S):
                self._save(done)
                saved_at = perf_counter()
        if self._history:
            draw(self._history, self._columns, self._file.with_suffix(".png"))

    def _log(self, step: int, recent: Sequence[Values], evaluated: Values) -> str:
        """Append a row to the history; return it as text."""
        means = torch.stack([torch.stack(values).detach() for values in recent]).mean(0).tolist()
        row = (*means, *(float(value) for value in evaluated))
        if not all(map(math.isfinite, row)):
            raise SystemExit(
                f"{self._file.stem}: a value is not finite at step {step}; "
                "the last checkpoint stays: run the stage again"
            )
        self._history.append((step, *row))
        named = zip(self._columns, row, strict=True)
        return ", ".join(f"{name} {value:.3f}" for name, value in named)

    def _save(self, step: int) -> None:
        state = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
        part = self._file.with_suffix(".tmp")
        torch.save(state | {"history": self._history, "step": step}, part)
        part.replace(self._file)


class Progress:
    """A line of progress with the rate, at most every PRINT_S seconds, and at the end."""

    def __init__(self, name: str, first: int, total: int) -> None:
        self._name = name
        self._first = first
        self._total = total
        self._started_at = perf_counter()
        self._shown_at = 0.0

    def show(self, done: int, text: str = "") -> None:
        now = perf_counter()
        if now - self._shown_at < PRINT_S and done < self._total:
            return
        self._shown_at = now
        rate = (done - self._first) / max(now - self._started_at, 1e-6)
        left_s = (self._total - done) / max(rate, 1e-6)
        line = f"{self._name}: {done}/{self._total}, {rate:.2f}/s, {left_s:.0f} s left"
        print(", ".join(part for part in (line, text) if part), flush=True)


def training_device(name: str | None = None) -> torch.device:
    """Device of this name, by default the GPU if there is one; the CPU, with a note, without it."""
    if name != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        print("torch finds no CUDA device: this stage runs on the CPU", file=sys.stderr, flush=True)
    return torch.device("cpu")


def training_parser(stage: str, description: str, steps: int) -> argparse.ArgumentParser:
    """Build the arguments shared by all stages: FOLDER, --steps and --device."""
    parser = argparse.ArgumentParser(prog=f"python -m tools.nano.{stage}", description=description)
    parser.add_argument("folder", type=Path, help="holds inputs, results and the training's state")
    parser.add_argument("--steps", type=int, default=steps, help=f"(default: {steps})")
    add_device(parser)
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), help="(default: cuda where there is a GPU)"
    )


def learning_rate_factor(step: int, steps: int, warm_up: int, floor: float = 0.0) -> float:
    """Linear warm-up to 1, times a half-cosine decay to `floor`."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * (step / steps))
    return min(1.0, (step + 1) / warm_up) * (floor + (1 - floor) * cosine)


def draw(history: Sequence[Row], names: Sequence[str], file: Path) -> None:
    """Plot `history`, rows of the step and one value for each of `names`, one panel per name."""
    steps, *columns = zip(*history, strict=True)
    figure, panels = plt.subplots(
        len(names), 1, sharex=True, figsize=(8, 3 * len(names)), squeeze=False
    )
    for panel, name, column in zip(panels[:, 0], names, columns, strict=True):
        panel.plot(steps, column)
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    panels[0, 0].set_title(file.stem)
    panels[-1, 0].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    plt.close(figure)
