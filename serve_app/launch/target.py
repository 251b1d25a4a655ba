"""The argument of `musicgen serve`: a configuration, or a model, for which one is written.

A model's configuration is `configs/own.yaml` with the lines changed that depend on model and machine.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serve_app.checkpoints.adapter_config import base_of
from serve_app.checkpoints.hub import EMBEDDED_PREFIX, is_hub_id
from serve_app.checkpoints.inventory import check_folder
from serve_app.checkpoints.weight_files import is_adapter
from serve_app.config.adapter import AdapterSource
from serve_app.config.app import AUTO
from serve_app.config.files import config_files
from serve_app.config.published import SIZES, hub_id
from serve_app.cpus import usable_cpus
from serve_app.errors import CheckpointError
from serve_app.launch.error import CONFIGURATION, LaunchError
from serve_app.machine import nvidia_gpus

_TEMPLATE = "own"
_YAML = (".yaml", ".yml")
_LONGEST_ID = 64
_INGRESS = "      ingress_deployment_config:\n"


def _others() -> dict[str, Path]:
    """Configurations by their names, without those of a size, which is a model of that name here."""
    return {name: file for name, file in config_files().items() if name not in SIZES}


TARGET_HELP = (
    f"A size ({', '.join(SIZES)}), a folder with a checkpoint, a hub id, or a Serve configuration: "
    f"{', '.join(_others())}, or the path of a file."
)


@dataclass(frozen=True)
class Target:
    """A Serve configuration. name: of its file, without the suffix; file: None if it was written."""

    name: str
    text: str
    file: Path | None = None

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """The configuration's file; one that was written here is in a temporary folder."""
        if self.file is not None:
            yield self.file
            return
        with tempfile.TemporaryDirectory(prefix="musicgen-serve-") as folder:
            file = Path(folder) / f"{self.name}.yaml"
            file.write_text(self.text)
            yield file


def find_target(name: str, adapters: Sequence[AdapterSource] = ()) -> Target:
    """Write a configuration for a model, or find one by name or path.

    name: a size of the published models, a folder with a checkpoint, a hub id, a file in configs/
    without its suffix, or the path of a file; adapters: merged into the model.

    Raises LaunchError for any other text, and for adapters of a configuration.
    """
    if name in SIZES:
        return _written(name, hub_id(name), adapters)
    named = _others()
    path = Path(name).expanduser()
    if name in named or name.endswith(_YAML) or path.is_file():
        if adapters:
            raise LaunchError(
                f"{name} is a configuration: write the adapter there, as adapter_source of a model. "
                "--adapter is for a model that is named by its size, folder or hub id.",
                CONFIGURATION,
            )
        return _configured(named.get(name, path))
    if path.is_dir():
        return _written(path.resolve().name, _checked(path, name), adapters)
    if is_hub_id(name) or name.startswith(EMBEDDED_PREFIX):
        return _written(name.partition("@")[0].rpartition("/")[2], name, adapters)
    raise LaunchError(
        f"'{name}' is neither a configuration nor a model. Sizes: {', '.join(SIZES)}. "
        f"Configurations: {', '.join(named)}, or the path of a YAML file. Another model: its folder "
        "with a checkpoint, or OWNER/REPOSITORY of the hub.",
        CONFIGURATION,
    )


def _configured(file: Path) -> Target:
    """A configuration that is there; one that cannot be read is refused where it is parsed."""
    text = file.read_text(errors="replace") if file.is_file() else ""
    return Target(file.stem, text, file)


def _checked(folder: Path, name: str) -> str:
    """The absolute path of a folder with a checkpoint. Raises LaunchError."""
    if is_adapter(folder):
        raise LaunchError(
            f"{name} holds a LoRA adapter, and no model. Name its base, and the adapter as an option: "
            f"musicgen serve {base_of(folder) or 'BASE'} --adapter {name}",
            CONFIGURATION,
        )
    try:
        check_folder(folder)
    except CheckpointError as error:
        raise LaunchError(error.message, CONFIGURATION) from error
    return str(folder.resolve())


def _written(name: str, source: str, adapters: Sequence[AdapterSource]) -> Target:
    """Write the configuration of one model for this machine."""
    model_id = _model_id(name)
    is_folder = source.startswith("/")
    repository, _, revision = (source, "", "") if is_folder else source.partition("@")
    gpus = nvidia_gpus()
    values = {
        "default_model": model_id,
        "model_id": model_id,
        "model_source": json.dumps(repository),
        "require_keys": "false",
        "device": "cuda" if gpus else "cpu",
        "max_replicas": str(max(1, gpus)),
        "ray_actor_options": _resources(gpus),
    }
    if revision:
        values["revision"] = json.dumps(revision)
    if adapters:
        values["adapter_source"] = json.dumps([one.model_dump() for one in adapters])
    title = f"# Written by `musicgen serve` for {source} on this machine ({_device(gpus)})."
    return Target(model_id, f"{title}\n{_filled(values)}")


def _filled(values: Mapping[str, str]) -> str:
    """The template without its title, with the values of a model and of its machine's ingress."""
    _, _, text = config_files()[_TEMPLATE].read_text().partition("\n")
    models, ingress, rest = text.partition(_INGRESS)
    for option, value in values.items():
        models = _with_value(models, option, value)
    return models + ingress + _with_value(rest, "ray_actor_options", "{num_cpus: 0}")


def _device(gpus: int) -> str:
    return f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else "no GPU"


def _resources(gpus: int) -> str:
    """Resources of a replica: a GPU, or all cores, since the ingress is idle while a step runs."""
    return "{num_gpus: 1, num_cpus: 1}" if gpus else f"{{num_cpus: {usable_cpus()}}}"


def _with_value(text: str, option: str, value: str) -> str:
    """Set the first line of an option, which may be a comment; its comment stays in its column."""
    pattern = re.compile(rf"^(\s*(?:- )?)(?:# )?({option}: )(.*?)(\s+)(# .*)$", re.MULTILINE)
    match = pattern.search(text)
    if match is None:
        raise ValueError(f"{_TEMPLATE}.yaml has no line of {option}")
    indent, key, _, _, comment = match.groups()
    start = f"{indent}{key}{value}"
    column = match.start(5) - match.start()
    return f"{text[: match.start()]}{start.ljust(column - 1)} {comment}{text[match.end() :]}"


def _model_id(name: str) -> str:
    """A model's name for clients, of the characters that these may have."""
    allowed = re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix(EMBEDDED_PREFIX))
    allowed = re.sub(r"^[^A-Za-z0-9]+", "", allowed)[:_LONGEST_ID]
    return allowed if allowed and allowed != AUTO else _TEMPLATE
