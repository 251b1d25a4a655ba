"""Reading of pickles whose configuration is an object of OmegaConf, without OmegaConf and without running code.

PyTorch's restricted unpickler refuses every class but its own. Here the few classes of OmegaConf are
replaced by inert containers, which keep the saved state as data.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from serve_app.checkpoints.faults import faults_named
from serve_app.checkpoints.torch_format import is_archive
from serve_app.errors import CheckpointError

_MOST_BYTES = 2**29  # unpacked: AudioSeal's files have below 70 MB
_MOST_DEPTH = 32
_MOST_VALUES = 1_000_000  # the published files have a few thousand
_END = object()
_AGAIN = "Download the file again from its publisher."


class _Inert:
    """A saved object as data: its state, whatever its class was."""

    def __new__(cls, *_: object, **__: object) -> "_Inert":
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


# A class of its own for each name: the unpickler compares classes.
_INERT = [
    (type(f"Inert{number}", (_Inert,), {}), name)
    for number, name in enumerate(
        (
            "omegaconf.dictconfig.DictConfig",
            "omegaconf.listconfig.ListConfig",
            "omegaconf.base.ContainerMetadata",
            "omegaconf.base.Metadata",
            "omegaconf.nodes.AnyNode",
            "omegaconf.nodes.ValueNode",
            "omegaconf.nodes.StringNode",
            "omegaconf.nodes.IntegerNode",
            "omegaconf.nodes.FloatNode",
            "omegaconf.nodes.BooleanNode",
            "omegaconf.nodes.InterpolationResultNode",
            "typing.Any",
            "typing.Union",
            "typing.Optional",
            "builtins.dict",
            "builtins.list",
            "builtins.int",
            "builtins.float",
            "builtins.str",
            "builtins.bool",
            "collections.defaultdict",
        )
    )
]


def read_inert(file: Path, most_bytes: int = _MOST_BYTES) -> dict[str, Any]:
    """Read a dict saved by `torch.save`: tensors, plain values, and OmegaConf's objects as plain values.

    No code in the file is run. most_bytes: of the file, unpacked.

    Raises CheckpointError if the file is missing, damaged, too large, or holds anything else, and
    for content that is larger than the file.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: the file is missing. {_AGAIN}")
    with faults_named(file, "not a readable PyTorch file of tensors and plain values", _AGAIN):
        _check_size(file, most_bytes)
        with torch.serialization.safe_globals(_INERT):  # type: ignore[arg-type]
            package = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(package, dict):
        raise CheckpointError(f"{file}: holds a {type(package).__name__}, not a dict. {_AGAIN}")
    _check_extent(file, package)
    return {
        str(name): value if isinstance(value, dict) else plain(file, value)
        for name, value in package.items()
    }


def plain(file: Path, value: Any, depth: int = 0) -> Any:
    """Unwrap an inert object of OmegaConf: its content as dicts, lists and values.

    Raises CheckpointError for a nesting without end.
    """
    if depth > _MOST_DEPTH:
        raise CheckpointError(f"{file}: its configuration is nested too deeply. {_AGAIN}")
    if isinstance(value, _Inert):
        return plain(file, _content(value), depth + 1)
    if isinstance(value, dict):
        return {str(name): plain(file, one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(file, one, depth + 1) for one in value]
    return value if isinstance(value, str | int | float | bool | torch.Tensor) else None


def _content(saved: _Inert) -> Any:
    state = saved.state if isinstance(saved.state, dict) else {}
    return state.get("_content", state.get("_val"))


def _check_extent(file: Path, package: Any) -> None:
    """Raise CheckpointError for what a small file can make large: values and tensors that repeat.

    A pickle may name one list many times, each list in it as well, and one number as a tensor of
    any shape.
    """
    left: list[Iterator[Any]] = [iter([package])]
    for _ in range(_MOST_VALUES):
        if not left:
            return
        value = next(left[-1], _END)
        if value is _END:
            left.pop()
            continue
        if isinstance(value, torch.Tensor):
            _check_tensor(file, value)
        left.append(_parts(value))
    raise CheckpointError(f"{file}: holds more than {_MOST_VALUES} values. {_AGAIN}")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, _Inert):
        return iter([_content(value)])
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value if isinstance(value, list | tuple) else ())


def _check_tensor(file: Path, tensor: torch.Tensor) -> None:
    is_plain = tensor.layout == torch.strided and not tensor.is_meta
    if not is_plain or tensor.nbytes > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            f"{file}: holds a tensor of {tuple(tensor.shape)} ({tensor.layout}) without a value of "
            f"its own for each element. {_AGAIN}"
        )


def _check_size(file: Path, most_bytes: int) -> None:
    """Raise CheckpointError for a file of PyTorch's older format, which tells no sizes, or a too large one."""
    if not is_archive(file):
        raise CheckpointError(
            f"{file}: is of the format of PyTorch before 1.6. Save it again by torch.save of a later "
            "PyTorch, on a machine that you can lose."
        )
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > most_bytes:
        raise CheckpointError(
            f"{file}: unpacks to {size} bytes, above the {most_bytes} of any such file. {_AGAIN}"
        )
