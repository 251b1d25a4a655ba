"""A training that can be stopped at any time and goes on where it was saved, with its loss curve as a picture."""

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

LOG_EVERY, SAVE_EVERY = 50, 250  # steps


class Training:
    """One model and its optimizer, kept in NAME.pt. NAME.png draws `columns`: the means of what `update` returned."""

    def __init__(
        self, file: Path, model: Any, optimizer: torch.optim.Optimizer, columns: Sequence[str]
    ) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._model, self._optimizer, self._columns = file, model, optimizer, columns
        self._history: list[tuple[float, ...]] = []
        self.first_step = 0
        if file.exists():
            saved = torch.load(
                file, map_location=next(model.parameters()).device, weights_only=True
            )
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            self._history, self.first_step = saved["history"], saved["step"]

    def run(
        self,
        steps: int,
        learning_rate: Callable[[int], float],
        update: Callable[[int], tuple[float, ...]],
        evaluate: Callable[[], tuple[float, ...]] = tuple,
    ) -> None:
        """Call `update` for every step that is left. `evaluate` adds the columns that are computed now and then."""
        recent: list[tuple[float, ...]] = []
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
                values = (
                    *(float(np.mean(column)) for column in zip(*recent, strict=True)),
                    *evaluate(),
                )
                recent.clear()
                self._history.append((done, *values))
                progress.set_postfix_str(
                    ", ".join(
                        f"{name} {value:.3f}"
                        for name, value in zip(self._columns, values, strict=True)
                    )
                )
            if done % SAVE_EVERY == 0 or done == steps:
                self._save(done)

    def _save(self, step: int) -> None:
        state = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
        part = self._file.with_suffix(".tmp")
        torch.save(state | {"history": self._history, "step": step}, part)
        part.replace(self._file)
        if self._history:
            draw(self._history, self._columns, self._file.with_suffix(".png"))


def cosine(progress: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 + 0.5 * math.cos(math.pi * progress)


def draw(history: Sequence[tuple[float, ...]], names: Sequence[str], file: Path) -> None:
    """history: rows of the step and one value for each of `names` -> a PNG with one panel a name."""
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
