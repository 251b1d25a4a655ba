"""Loss curves as pictures."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(history: Sequence[tuple[float, ...]], names: Sequence[str], title: str, file: Path) -> None:
    """history: rows of the step and one value for each of `names` -> a PNG with one panel a name."""
    steps, *columns = zip(*history, strict=True)
    figure, panels = plt.subplots(len(names), 1, sharex=True, figsize=(8, 3 * len(names)), squeeze=False)
    for panel, name, column in zip(panels[:, 0], names, columns, strict=True):
        panel.plot(steps, column)
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    panels[0, 0].set_title(title)
    panels[-1, 0].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    plt.close(figure)
