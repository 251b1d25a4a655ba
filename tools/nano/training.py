"""Resumable training loop with a checkpoint file and a plot, and its command line."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LOG_EVERY = 50  # steps
SAVE_EVERY = 250  # steps
Row = tuple[float, ...]


class Training:
    """A model and its optimizer, saved in NAME.pt.

    NAME.png plots `columns`: means of the values that `update` returns, then those of `evaluate`.
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

    def run(
        self,
        steps: int,
        learning_rate: Callable[[int], float],
        update: Callable[[int], Row],
        evaluate: Callable[[], Row] = tuple,
    ) -> None:
        """Call `update` for each remaining step, and `evaluate` every LOG_EVERY steps."""
        recent: list[Row] = []
        progress = tqdm(
            range(self.first_step, steps),
            initial=self.first_step,
            total=steps,
            desc=self._file.stem,
        )
        for step in progress:
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(step)
            recent.append(update(step))
            done = step + 1
            if done % LOG_EVERY == 0:
                progress.set_postfix_str(self._log(done, recent, evaluate()))
                recent.clear()
            if done % SAVE_EVERY == 0 or done == steps:
                self._save(done)

    def _log(self, step: int, recent: Sequence[Row], evaluated: Row) -> str:
        """Append a row to the history; return it as text."""
        means = (float(np.mean(column)) for column in zip(*recent, strict=True))
        values = (*means, *evaluated)
        self._history.append((step, *values))
        named = zip(self._columns, values, strict=True)
        return ", ".join(f"{name} {value:.3f}" for name, value in named)

    def _save(self, step: int) -> None:
        state = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
        part = self._file.with_suffix(".tmp")
        torch.save(state | {"history": self._history, "step": step}, part)
        part.replace(self._file)
        if self._history:
            draw(self._history, self._columns, self._file.with_suffix(".png"))


def training_device() -> torch.device:
    """Return the GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_parser(stage: str, description: str, steps: int) -> argparse.ArgumentParser:
    """Build the arguments shared by all stages: FOLDER and --steps."""
    parser = argparse.ArgumentParser(prog=f"python -m tools.nano.{stage}", description=description)
    parser.add_argument("folder", type=Path, help="holds inputs, results and the training's state")
    parser.add_argument("--steps", type=int, default=steps, help=f"(default: {steps})")
    return parser


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
