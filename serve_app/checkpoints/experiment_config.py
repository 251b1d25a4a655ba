"""Files of an AudioCraft export, and the training configuration (`xp.cfg`) in them."""

import re
from pathlib import Path
from typing import Any

import torch
import yaml

from serve_app.checkpoints.tensor_store import TensorStore, read_pickle
from serve_app.errors import CheckpointError

_MAX_REFERENCES = 10  # followed in a row, so that a circle of references ends


class ExperimentConfig:
    """An `xp.cfg`: nested values by dotted path, with `${…}` references resolved."""

    def __init__(self, file: Path, text: object) -> None:
        self.file = file
        try:
            self._root = yaml.safe_load(str(text))
        except yaml.YAMLError as error:
            raise CheckpointError(f"{file}: its 'xp.cfg' is not YAML") from error
        if not isinstance(self._root, dict):
            raise CheckpointError(f"{file}: has no configuration ('xp.cfg')")

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`, or `default` if it is absent."""
        return self._get(path, default, 0)

    def need(self, path: str) -> Any:
        """The value at `path`. Raises CheckpointError if it is absent or null."""
        value = self.get(path)
        if value is None:
            raise CheckpointError(f"{self.file}: 'xp.cfg' has no '{path}'")
        return value

    def require(self, path: str, supported: object, default: object = None) -> None:
        """Raise CheckpointError unless the value at `path` is `supported`.

        An absent value is `default`.
        """
        value = self.get(path, default)
        if value != supported:
            raise CheckpointError(
                f"{self.file}: {path} is {value!r}, which is not supported (only {supported!r}). "
                "Use a text-to-music MusicGen of the published kind."
            )

    def _get(self, path: str, default: Any, depth: int) -> Any:
        node: Any = self._root
        for key in path.split("."):
            if not isinstance(node, dict) or key not in node:
                return default
            node = node[key]
        return self._resolve(node, depth)

    def _resolve(self, node: Any, depth: int) -> Any:
        """Follow a reference, in any depth of `node`; depth: references followed before."""
        if depth > _MAX_REFERENCES:
            raise CheckpointError(f"{self.file}: 'xp.cfg' has a circle of references ({node!r})")
        if isinstance(node, dict):
            return {key: self._resolve(value, depth) for key, value in node.items()}
        reference = re.fullmatch(r"\$\{([\w.]+)\}", node) if isinstance(node, str) else None
        return self._get(reference[1], None, depth + 1) if reference else node


def read_export(file: Path) -> tuple[ExperimentConfig, TensorStore]:
    """Read `state_dict.bin` or `compression_state_dict.bin`: its configuration and its tensors.

    Raises CheckpointError if the file is not an AudioCraft export.
    """
    package = read_pickle(file)
    state = package.get("best_state")
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise CheckpointError(
            f"{file}: has no 'best_state' of tensors. Export the model with "
            "audiocraft.utils.export."
        )
    cfg = ExperimentConfig(file, package.get("xp.cfg", ""))
    return cfg, TensorStore(str(file), state)
