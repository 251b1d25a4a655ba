"""Location of checkpoints: folders, models inside this package, and hub repositories."""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from serve_app.checkpoints.adapter_config import CONFIG, base_of
from serve_app.checkpoints.faults import faults_named, unreadable_named
from serve_app.checkpoints.weight_files import (
    ADAPTER,
    check_adapter_files,
    has_safetensors,
    is_adapter,
    refuse_ignored,
)
from serve_app.config.model_loading import CheckpointForm
from serve_app.errors import CheckpointError

EMBEDDED_PREFIX = "embedded:"
_EMBEDDED_NAME = re.compile(r"embedded:[\w-]+")
_HUB_NAME = r"\w[\w.-]*"
_HUB_ID = re.compile(rf"{_HUB_NAME}(/{_HUB_NAME})?(@\w[\w./-]*)?")
_OWNED_HUB_ID = re.compile(rf"{_HUB_NAME}/{_HUB_NAME}(@\w[\w./-]*)?")
_CURE = "Name an existing folder, OWNER/REPOSITORY, OWNER/REPOSITORY@REVISION or embedded:NAME."
WEIGHTS = ("*.safetensors",)  # of a repository that is no MusicGen
_SAFE_FILES = ("*.json", "*.safetensors", "*.model")
_ADAPTER_FILES = (CONFIG, ADAPTER)
_EXPORT_FILES = ("state_dict.bin", "compression_state_dict.bin")


def resolve(source: str, form: CheckpointForm = "auto") -> Path:
    """Return the local folder of a source: a folder, `embedded:NAME`, or a hub id.

    A hub repository is downloaded to the hub's cache; `OWNER/REPOSITORY@REVISION` pins a commit,
    tag or branch.
    form: of the files to download, where a repository holds two.

    Raises CheckpointError if `source` is none of them, cannot be downloaded, or holds
    weights that would be ignored, such as an adapter.
    """
    return _checked(source, _find(source, form), form)


def _checked(source: str, folder: Path, form: CheckpointForm) -> Path:
    with unreadable_named(folder):
        if is_adapter(folder):
            raise CheckpointError(_without_base(source, folder))
        refuse_ignored(folder, form)
    return folder


def fetch(source: str, form: CheckpointForm = "auto") -> Path:
    """Return the local folder of a model as `resolve` does, or of an adapter."""
    folder = _find(source, form)
    return folder if is_adapter(folder) else _checked(source, folder, form)


def resolve_adapter(source: str) -> Path:
    """Return the local folder of a LoRA adapter: a folder or a hub id, as in `resolve`.

    Raises CheckpointError if `source` is neither, cannot be downloaded, or holds no adapter.
    """
    folder = local_folder(source) or _download(*_revision(source), _ADAPTER_FILES)
    with unreadable_named(folder):
        check_adapter_files(folder)
    return folder


def _find(source: str, form: CheckpointForm) -> Path:
    folder = _embedded(source) if source.startswith(EMBEDDED_PREFIX) else local_folder(source)
    return folder or _from_hub(source, form)


def _without_base(source: str, folder: Path) -> str:
    base = base_of(folder) or "the model that it was trained on"
    return (
        f"{folder}: holds a LoRA adapter, and no model. Write its base in model_source ({base}), and "
        f"adapter_source: {source}"
    )


def folder_with(source: str, patterns: Iterable[str]) -> Path:
    """Return the local folder of a source, a folder or a hub id, whose files are no MusicGen model.

    patterns: of the files to download. Raises CheckpointError.
    """
    return local_folder(source) or _download(*_revision(source), patterns)


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form OWNER/REPOSITORY, perhaps with @REVISION."""
    return _OWNED_HUB_ID.fullmatch(name) is not None


def local_folder(source: str) -> Path | None:
    """The folder of that path; None if there is none, but the source may be a hub id."""
    with faults_named(Path(source), "not a usable path", _CURE):
        path = Path(source).expanduser()
        if path.is_dir():
            return path
        is_file = path.exists()
    if is_file:
        raise CheckpointError(f"{path}: is a file, not a folder. Name the folder that holds it.")
    if not _HUB_ID.fullmatch(source):
        raise CheckpointError(
            f"'{source}' is neither a folder nor the id of a hub repository. {_CURE}"
        )
    return None


def _from_hub(source: str, form: CheckpointForm) -> Path:
    repository, revision = _revision(source)
    if form != "audiocraft":
        folder = _download(repository, revision, _SAFE_FILES)
        if form == "transformers" or has_safetensors(folder):
            return folder
    return _download(repository, revision, _EXPORT_FILES)


def _revision(source: str) -> tuple[str, str | None]:
    """Repository and revision of a hub id."""
    repository, _, revision = source.partition("@")
    return repository, revision or None


def _embedded(source: str) -> Path:
    folder = Path(str(files("serve_app"))) / "assets" / source.removeprefix(EMBEDDED_PREFIX)
    if not _EMBEDDED_NAME.fullmatch(source) or not (folder / "config.json").exists():
        raise CheckpointError(
            f"'{source}' is not a model inside this package. Use embedded:musicgen-nano, a folder "
            "or a hub id."
        )
    return folder


def _download(repository: str, revision: str | None, patterns: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # of the hub, of HTTP, of the network, of the disk
        pinned = f" at revision '{revision}'" if revision else ""
        raise CheckpointError(
            f"Hub repository '{repository}'{pinned} could not be fetched "
            f"({type(error).__name__}). Check the name and the network; set HF_TOKEN for a private or "
            "gated repository, or name a local folder instead. With HF_HUB_OFFLINE=1 the repository "
            "must already be in the cache (HF_HOME)."
        ) from error
