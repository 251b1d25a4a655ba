"""Location of checkpoints: folders, models inside this package, and hub repositories."""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from serve_app.errors import CheckpointError

EMBEDDED_PREFIX = "embedded:"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_OWNED_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SAFE_FILES = ("*.json", "*.safetensors", "*.model")
_EXPORT_FILES = ("state_dict.bin", "compression_state_dict.bin")


def resolve(source: str) -> Path:
    """Return the local folder of a source: a folder, `embedded:NAME`, or a hub id.

    A hub repository is downloaded to the hub's cache.

    Raises CheckpointError if `source` is none of them or cannot be downloaded.
    """
    if source.startswith(EMBEDDED_PREFIX):
        return _embedded(source)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(source):
        raise CheckpointError(
            f"'{source}' is neither a folder nor the id of a hub repository. "
            "Name an existing folder, OWNER/REPOSITORY or embedded:NAME."
        )
    folder = _download(source, _SAFE_FILES)
    return folder if has_safetensors(folder) else _download(source, _EXPORT_FILES)


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form OWNER/REPOSITORY."""
    return _OWNED_HUB_ID.fullmatch(name) is not None


def has_safetensors(folder: Path) -> bool:
    """Whether weights in safetensors form are in `folder`."""
    return any(folder.glob("*.safetensors"))


def _embedded(source: str) -> Path:
    folder = Path(str(files("serve_app"))) / "assets" / source.removeprefix(EMBEDDED_PREFIX)
    if not (folder / "config.json").exists():
        raise CheckpointError(
            f"'{source}' is not a model inside this package. Use embedded:musicgen-nano, a folder "
            "or a hub id."
        )
    return folder


def _download(repository: str, patterns: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"Hub repository '{repository}' could not be fetched ({type(error).__name__}). Check "
            "the name and the network; set HF_TOKEN for a private or gated repository, or name a "
            "local folder instead. With HF_HUB_OFFLINE=1 the repository must already be in the "
            "cache (HF_HOME)."
        ) from error
