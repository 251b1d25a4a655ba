"""Files of an AudioCraft export, and the training configuration (`xp.cfg`) in them."""

import re
from pathlib import Path
from typing import Any

import torch
import yaml

from serve_app.checkpoints.faults import faults_named
from serve_app.checkpoints.fields import Fields
from serve_app.checkpoints.tensor_files import read_pickle
from serve_app.checkpoints.tensor_store import TensorStore
from serve_app.checkpoints.training_files import advice_for
from serve_app.errors import CheckpointError

_CURE = "Export the model again with audiocraft.utils.export."
_MAX_REFERENCES = 10  # followed in a row, so that a circle of references ends
_MOST_REFERENCES = 10_000  # followed for one value: sections may refer to sections several times


class _PlainLoader(yaml.SafeLoader):
    """Loader of YAML without aliases: these could make a small text a huge or endless structure."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


class ExperimentConfig:
    """An `xp.cfg`: nested values by dotted path, with `${…}` references resolved."""

    def __init__(self, file: Path, text: object) -> None:
        self.file = file
        self._followed = 0  # references of the value that is being read
        with faults_named(file, "its 'xp.cfg' is not YAML", _CURE):
            self._root = yaml.load(str(text), Loader=_PlainLoader)
        if not isinstance(self._root, dict):
            raise CheckpointError(f"{file}: has no configuration ('xp.cfg'). {_CURE}")

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`, or `default` if it is absent.

        Raises CheckpointError for references that lead too far.
        """
        self._followed = 0
        return self._get(path, default, 0)

    def names(self, path: str) -> set[str]:
        """Names of the values in the section at `path`; none if it is absent or no section."""
        section = self.get(path)
        return {str(name) for name in section} if isinstance(section, dict) else set()

    def fields(self, section: str) -> Fields:
        """Values of the section, checked for type and range; empty: the whole configuration."""
        prefix = f"{section}." if section else ""
        return Fields(self.file, section, lambda name: self.get(f"{prefix}{name}"))

    def require_sections(self, *names: str) -> None:
        """Raise CheckpointError unless the configuration has all these sections."""
        for name in names:
            if not isinstance(self.get(name), dict):
                raise CheckpointError(
                    f"{self.file}: has no section '{name}' in its configuration ('xp.cfg'). {_CURE}"
                )

    def require(self, path: str, supported: object, default: object = None) -> None:
        """Raise CheckpointError unless the value at `path`, or `default`, is `supported`."""
        self.fields("").require(path, supported, default)

    def require_names(self, path: str, supported: set[str]) -> None:
        """Raise CheckpointError unless the list at `path` has exactly these names, in any order."""
        listed = self.get(path)
        if not isinstance(listed, list) or {str(name) for name in listed} != supported:
            self.require(path, sorted(supported))

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
        self._followed += reference is not None
        if self._followed > _MOST_REFERENCES:
            raise CheckpointError(f"{self.file}: 'xp.cfg' has too many references. {_CURE}")
        return self._get(reference[1], None, depth + 1) if reference else node


def read_export(file: Path) -> tuple[ExperimentConfig, TensorStore]:
    """Read `state_dict.bin` or `compression_state_dict.bin`: its configuration and its tensors.

    Raises CheckpointError if the file is not an AudioCraft export.
    """
    package = read_pickle(file)
    state = package.get("best_state")
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise CheckpointError(
            f"{file}: has no 'best_state' of named tensors. {advice_for(set(map(str, package)))}"
        )
    cfg = ExperimentConfig(file, package.get("xp.cfg", ""))
    return cfg, TensorStore(str(file), state)
