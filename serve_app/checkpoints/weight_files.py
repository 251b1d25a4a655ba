"""Files of safetensors weights in a folder: those that are loaded, and those that would be ignored.

Without torch, so that a check before a start may use it.
"""

import json
import re
from pathlib import Path

from serve_app.checkpoints.faults import faults_named
from serve_app.config.model_loading import CheckpointForm
from serve_app.errors import CheckpointError

ADAPTER = "adapter_model.safetensors"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
EXPORT = "state_dict.bin"
_ADAPTER_CONFIG = "adapter_config.json"
_SUFFIX = ".safetensors"
_AGAIN = "Save or download the checkpoint again."
# The same weights in another precision, as transformers' `variant` names them: model.fp16.safetensors
_SHARD = r"(-\d+-of-\d+)?"
_VARIANT = re.compile(rf"model{_SHARD}\.(fp|bf|float|bfloat)\d+{_SHARD}\.safetensors")
_ADAPTER = re.compile(
    r"adapter_config\.json|(adapter_model|adapters?|pytorch_lora_weights)\.(safetensors|bin|npz|pt)"
)


def has_safetensors(folder: Path) -> bool:
    """Whether weights in safetensors form are in `folder`."""
    return any(folder.glob(f"*{_SUFFIX}"))


def is_export(folder: Path, form: CheckpointForm = "auto") -> bool:
    """Whether a model in `folder` is loaded from an AudioCraft export, and not from safetensors."""
    if form == "auto":
        return (folder / EXPORT).exists() and not has_safetensors(folder)
    return form == "audiocraft"


def require_form(folder: Path, form: CheckpointForm) -> None:
    """Raise CheckpointError if the configuration chooses a form that is not in `folder`."""
    missing = {
        "auto": False,
        "transformers": not has_safetensors(folder),
        "audiocraft": not (folder / EXPORT).exists(),
    }
    if missing[form]:
        file = EXPORT if form == "audiocraft" else SINGLE
        raise CheckpointError(
            f"{folder / file}: the file is missing, but checkpoint_form is '{form}'. Set it to auto, "
            "or name a folder or repository that holds this form."
        )


def weight_files(folder: Path) -> list[Path]:
    """List `model.safetensors`, or else the shards that the index names, as transformers does.

    Raises CheckpointError if the index is unreadable, or names missing shards beside
    `model.safetensors`.
    """
    single = folder / SINGLE
    index = folder / INDEX
    if not index.exists():
        return [single]
    names = sorted(set(read_index(index).values()))
    if not single.exists() or SINGLE in names:
        return [folder / name for name in names]
    if missing := [name for name in names if not (folder / name).exists()]:
        raise CheckpointError(
            f"{index}: names the file '{missing[0]}', which is missing, but {SINGLE} is there. Which "
            "of them is the model cannot be told: remove the index, or add its shards."
        )
    return [single]


def _known_files(folder: Path) -> set[str]:
    """Names of the files that are loaded, and of the same weights in shards."""
    known = {file.name for file in weight_files(folder)}
    index = folder / INDEX
    return known | set(read_index(index).values()) if index.exists() else known


def read_index(index: Path) -> dict[str, str]:
    """File of each tensor. Raises CheckpointError unless all are names of safetensors files."""
    with faults_named(index, "not a readable index", _AGAIN):
        listed = json.loads(index.read_bytes())["weight_map"]
        names = list(listed.values())
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or Path(name).suffix != _SUFFIX:
            raise CheckpointError(
                f"{index}: names the file {name!r}, which is no safetensors file in the same "
                f"folder. {_AGAIN}"
            )
    if not names:
        raise CheckpointError(f"{index}: its weight_map is empty. {_AGAIN}")
    return {str(tensor): name for tensor, name in listed.items()}


def refuse_ignored(folder: Path, form: CheckpointForm = "auto") -> None:
    """Raise CheckpointError for files that change the music, but would not be loaded.

    These are a LoRA adapter, in the folder or below it, and any safetensors file beside the model's
    own. The same weights in shards, or in another precision (transformers' `variant`), are allowed,
    and any beside an AudioCraft export that `form` chooses.
    """
    _refuse_adapters(folder)
    if not has_safetensors(folder) or is_export(folder, form):
        return
    loaded = _known_files(folder)
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        if file.name not in loaded and not _VARIANT.fullmatch(file.name):
            raise CheckpointError(
                f"{file}: would be ignored, because a model is loaded from {SINGLE} or from the "
                f"shards that {INDEX} names. If it is an adapter (LoRA), name its folder in adapter_source; "
                "if it is a shard, add the index; else move it out of the folder."
            )


def _refuse_adapters(folder: Path) -> None:
    """Raise CheckpointError if an adapter is in the folder: without it the music is another."""
    for file in sorted(folder.rglob("*") if _has_weights(folder) else folder.iterdir()):
        if _ADAPTER.fullmatch(file.name):
            raise CheckpointError(
                f"{file}: the folder holds a LoRA adapter, which would be ignored. To merge it at "
                "load, move its files into a folder of their own and name that in adapter_source; to "
                "serve the base alone, remove them."
            )


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter, and no model."""
    files = {file.name for file in folder.iterdir()}
    has_model = not files.isdisjoint((SINGLE, INDEX, EXPORT))
    return not has_model and any(map(_ADAPTER.fullmatch, files))


def check_adapter_files(folder: Path) -> None:
    """Raise CheckpointError unless the folder holds an adapter of PEFT as safetensors."""
    for name in (_ADAPTER_CONFIG, ADAPTER):
        if (folder / name).exists():
            continue
        if name == ADAPTER and (folder / "adapter_model.bin").exists():
            raise CheckpointError(
                f"{folder / 'adapter_model.bin'}: pickled adapters are not read. Load it with PEFT "
                "and save it again: `save_pretrained()` writes safetensors."
            )
        raise CheckpointError(
            f"{folder / name}: the file is missing. Name the folder of a LoRA adapter that PEFT "
            "saved in adapter_source; a model belongs into model_source."
        )


def _has_weights(folder: Path) -> bool:
    return has_safetensors(folder) or (folder / EXPORT).exists()
