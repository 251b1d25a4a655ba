"""`adapter_config.json` of a LoRA adapter (arXiv:2106.09685), as PEFT saves it.

Without torch, so that a check before a start may use it.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, TypeVar

from serve_app.checkpoints.faults import faults_named
from serve_app.checkpoints.fields import Fields
from serve_app.errors import CheckpointError

CONFIG = "adapter_config.json"
_MOST_ALPHA = 1e6
# Options that do not change the sum of base and adapter.
_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "eva_config", "exclude_modules", "inference_mode",
        "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "peft_version",
        "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
    }
)  # fmt: skip
_SUPPORTED = frozenset(
    {
        "alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "peft_type", "r",
        "rank_pattern", "use_rslora",
    }
)  # fmt: skip
# Initializations that leave the base as it is; others (PiSSA, OLoRA, ...) change it.
_INITIALIZATIONS = (None, True, False, "gaussian", "eva", "orthogonal")
_CURE = (
    "Merge the adapter into its base with PEFT (`merge_and_unload()`, then `save_pretrained()`) and "
    "name the merged folder in model_source."
)
# Bounds of a regular expression, so that no name takes long to match (catastrophic backtracking).
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_REPETITION = re.compile(r"(?<![\\(])[*+?{]")
_MOST_REPETITIONS = 3
_MOST_GROUPS = 3
ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class AdapterConfig:
    """Options of an adapter. base: the model that it was trained on, as its file names it.

    rank_pattern, alpha_pattern: values of the modules whose names match these regular expressions.
    """

    file: Path
    base: str | None
    rank: int
    alpha: float
    use_rslora: bool
    rank_pattern: tuple[tuple[re.Pattern[str], int], ...]
    alpha_pattern: tuple[tuple[re.Pattern[str], float], ...]

    def rank_of(self, module: str) -> int:
        return _matching(self.rank_pattern, module, self.rank)

    def scaling(self, module: str) -> float:
        """Factor of the product of the two matrices; of rsLoRA: arXiv:2312.03732."""
        rank = self.rank_of(module)
        alpha = _matching(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read the file. Raises CheckpointError naming the first option that is not supported."""
    file = folder / CONFIG
    with faults_named(file, "not readable JSON", "Copy or download the adapter again."):
        values = json.loads(file.read_bytes())
        if not isinstance(values, dict):
            raise TypeError("it holds no object")
    _check(file, values)
    fields = Fields(file, "", values.get)
    base = values.get("base_model_name_or_path")
    return AdapterConfig(
        file=file,
        base=base if isinstance(base, str) else None,
        rank=fields.integer("r"),
        alpha=fields.number("lora_alpha", at_least=0, at_most=_MOST_ALPHA),
        use_rslora=fields.flag("use_rslora", False),
        rank_pattern=_pattern(file, values, "rank_pattern", lambda f, key: f.integer(key)),
        alpha_pattern=_pattern(file, values, "alpha_pattern", _alpha),
    )


def base_of(folder: Path) -> str | None:
    """The base that an adapter's configuration names, of any kind of adapter; None: it names none."""
    try:
        values = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    base = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    return base if isinstance(base, str) and base else None


def _check(file: Path, values: dict[str, Any]) -> None:
    kind = values.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(
            f"{file}: peft_type is {kind!r}, which is not supported (only 'LORA'). {_CURE}"
        )
    if values.get("bias", "none") != "none":
        _refuse(file, "bias", values["bias"])
    if values.get("init_lora_weights") not in _INITIALIZATIONS:
        _refuse(file, "init_lora_weights", values["init_lora_weights"])
    for name, value in values.items():
        if value and name not in _WITHOUT_EFFECT | _SUPPORTED:
            _refuse(file, name, value)


def _refuse(file: Path, name: str, value: object) -> Never:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    raise CheckpointError(f"{file}: {name} is {shown}, which is not supported. {_CURE}")


def _alpha(fields: Fields, key: str) -> float:
    return fields.number(key, at_least=0, at_most=_MOST_ALPHA)


def _pattern(
    file: Path, values: dict[str, Any], name: str, read: Callable[[Fields, str], ValueT]
) -> tuple[tuple[re.Pattern[str], ValueT], ...]:
    """Compile a mapping from regular expressions to values, with PEFT's rule of a match."""
    pattern = values.get(name) or {}
    with faults_named(file, f"{name} is no mapping from regular expressions", _CURE):
        fields = Fields(file, name, pattern.get)
        for key in pattern:
            _check_expression(str(key))
        return tuple(
            (re.compile(rf"(.*\.)?({key})"), read(fields, key)) for key in map(str, pattern)
        )


def _check_expression(key: str) -> None:
    """Raise ValueError for a regular expression whose match may take exponential time."""
    repetitions = len(_REPETITION.findall(key))
    if (
        _REPEATED_GROUP.search(key)
        or repetitions > _MOST_REPETITIONS
        or key.count("(") > _MOST_GROUPS
    ):
        raise ValueError(f"'{key[:80]}' repeats a group, or has too many repetitions or groups")


def _matching(
    pattern: tuple[tuple[re.Pattern[str], ValueT], ...], module: str, default: ValueT
) -> ValueT:
    return next((value for name, value in pattern if name.fullmatch(module)), default)
