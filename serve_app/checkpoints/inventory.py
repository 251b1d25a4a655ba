"""Files of a checkpoint: present, readable and whole, as far as that is seen within milliseconds.

A check before a start, without torch. Loading checks the tensors themselves.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from serve_app.checkpoints import diffusion_file
from serve_app.checkpoints.adapter_config import read_adapter_config
from serve_app.checkpoints.faults import unreadable_named
from serve_app.checkpoints.hub import EMBEDDED_PREFIX, local_folder, resolve, resolve_adapter
from serve_app.checkpoints.torch_format import is_archive
from serve_app.checkpoints.training_files import refuse_training
from serve_app.checkpoints.watermark_file import Network, read_facts
from serve_app.checkpoints.weight_files import (
    ADAPTER,
    EXPORT,
    INDEX,
    SINGLE,
    has_safetensors,
    is_export,
    require_form,
    weight_files,
)
from serve_app.config.model_loading import CheckpointForm, NamedSource
from serve_app.config.watermark import WatermarkConfig
from serve_app.errors import CheckpointError

HUB_TIMEOUT_S = 5.0
_FILES: dict[CheckpointForm, tuple[str, ...]] = {
    "auto": (SINGLE, INDEX, EXPORT),
    "transformers": (SINGLE, INDEX),
    "audiocraft": (EXPORT,),
}
_TRUNCATED = "The file is cut off or damaged: copy or download it again."


def check_named(named: NamedSource) -> bool:
    """Check a source that a configuration names, as `check_source` does."""
    return check_source(named.source, named.needs_codec, named.form)


def check_source(source: str, needs_codec: bool = True, form: CheckpointForm = "auto") -> bool:
    """Check the files of a folder or of an embedded model, and that a hub repository can be had.

    A repository counts as available when its weights are in the hub's cache, or when the hub answers for it within
    HUB_TIMEOUT_S. Returns whether the weights are on this machine.
    needs_codec: whether an AudioCraft export must hold its codec; false if the codec has a source of its own.
    form: of the checkpoint, where there are two.
    Raises CheckpointError naming the file or the repository.
    """
    is_embedded = source.startswith(EMBEDDED_PREFIX)
    if is_embedded or local_folder(source):
        folder = resolve(source, form)
        with unreadable_named(folder):
            check_folder(folder, needs_codec, form)
        return True
    repository, _, revision = source.partition("@")
    if _is_cached(repository, revision or None, _FILES[form]):
        return True
    _ask_hub(repository, revision or None)
    return False


def check_adapter(source: str) -> bool:
    """Check the files and the options of a LoRA adapter, as `check_source` does those of a model."""
    if local_folder(source):
        folder = resolve_adapter(source)
        with unreadable_named(folder):
            read_adapter_config(folder)
            _check_safetensors(folder / ADAPTER)
        return True
    repository, _, revision = source.partition("@")
    if _is_cached(repository, revision or None, (ADAPTER,)):
        return True
    _ask_hub(repository, revision or None)
    return False


def check_folder(folder: Path, needs_codec: bool = True, form: CheckpointForm = "auto") -> None:
    """Check a folder: of Hugging Face, or an AudioCraft export. Raises CheckpointError naming the file."""
    refuse_training(folder, form)
    require_form(folder, form)
    if is_export(folder, form):
        _check_pickle(folder / EXPORT)
        if needs_codec:
            _check_pickle(folder / "compression_state_dict.bin")
    elif has_safetensors(folder) or (folder / INDEX).exists():
        _check_config(folder / "config.json")
        for file in weight_files(folder):
            _check_safetensors(file)
    else:
        raise CheckpointError(
            f"{folder}: has neither {SINGLE} nor {EXPORT}. Name the folder of a Hugging Face "
            "MusicGen model or of an AudioCraft export."
        )


def check_watermark_files(config: WatermarkConfig) -> None:
    """Check AudioSeal's files that the configuration names. Raises CheckpointError."""
    named = {Network.GENERATOR: config.generator_file, Network.DETECTOR: config.detector_file}
    for network, name in named.items():
        if name is not None:
            file = Path(name).expanduser()
            read_facts(file, network)
            _check_safetensors(file)


def check_diffusion_files(source: str | None) -> None:
    """Check the converted files of MultiBand Diffusion, if there is a source. Raises CheckpointError."""
    if source is not None:
        weights, _ = diffusion_file.read_facts(source)
        _check_safetensors(weights)


def _check_config(file: Path) -> None:
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{file}: the file is missing. Copy it beside the weights.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not readable JSON ({error}). {_TRUNCATED}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise CheckpointError(
            f"{file}: has no 'model_type'. Use the file that transformers saved with the model."
        )


def _check_safetensors(file: Path) -> None:
    """Compare the file's length with its header (https://huggingface.co/docs/safetensors)."""
    if not file.exists():
        raise CheckpointError(f"{file}: the file is missing. Copy or download it again.")
    try:
        expected = _length_by_header(file)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{file}: not a readable safetensors file. {_TRUNCATED}") from None
    if (length := file.stat().st_size) != expected:
        raise CheckpointError(
            f"{file}: has {length} bytes, but its header tells of {expected}. {_TRUNCATED}"
        )


def _length_by_header(file: Path) -> int:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > file.stat().st_size:
            raise ValueError("the header is longer than the file")
        header = json.loads(stream.read(size))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return 8 + size + max(ends, default=0)


def _check_pickle(file: Path) -> None:
    """Accept what `torch.save` writes, in either of its formats."""
    if not file.exists():
        raise CheckpointError(
            f"{file}: the file is missing. Export the model again with audiocraft.utils.export; "
            "for the codec alone, set the model's codec_source."
        )
    is_archive(file)


def _is_cached(repository: str, revision: str | None, names: Iterable[str]) -> bool:
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(repository, name, revision=revision) for name in names)
    return any(isinstance(file, str) and os.path.exists(file) for file in cached)  # noqa: PTH110


def _ask_hub(repository: str, revision: str | None) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    cure = "Run `musicgen fetch` where there is a network, or name a local folder instead."
    try:
        HfApi().model_info(repository, revision=revision, timeout=HUB_TIMEOUT_S)
    except OfflineModeIsEnabled:
        reason = f"is not in the hub's cache, and HF_HUB_OFFLINE is set. {cure}"
    except HfHubHTTPError as error:
        reason = (
            f"is refused by the hub with status {error.response.status_code}. Check the name; set "
            "HF_TOKEN for a private or gated repository."
        )
    except Exception as error:  # a network fails in many ways
        reason = f"is not in the hub's cache, and the hub cannot be reached ({type(error).__name__}). {cure}"
    else:
        return
    at = f" at revision '{revision}'" if revision else ""
    raise CheckpointError(f"The hub repository '{repository}'{at} {reason}")
