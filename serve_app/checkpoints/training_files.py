"""Files of a training with AudioCraft: told from its exports, with the calls that export them.

Without torch, so that a check before a start may use it.
"""

import zipfile
from pathlib import Path

from serve_app.checkpoints.weight_files import EXPORT, has_safetensors
from serve_app.config.model_loading import CheckpointForm
from serve_app.errors import CheckpointError

EXPORT_AGAIN = (
    "Export the model where AudioCraft is installed: audiocraft.utils.export.export_lm("
    "'checkpoint.th', 'state_dict.bin') and export_pretrained_compression_model("
    "'facebook/encodec_32khz', 'compression_state_dict.bin')."
)
_FINE_TUNED = (
    "Its names, 'xp.cfg' and 'model' without 'best_state', are those of Replicate's fine-tuner. "
    "If you trust its origin, because loading it may run code in it, export it where AudioCraft is "
    "installed: package = torch.load(FILE, weights_only=False); "
    "torch.save({'best_state': package['model'], 'xp.cfg': OmegaConf.to_yaml(package['xp.cfg'])}, "
    "'state_dict.bin')."
)
_CHECKPOINTS = "checkpoint*.th"
_MOST_BYTES = 2**26  # of a pickle without its tensors


def refuse_training(folder: Path, form: CheckpointForm = "auto") -> None:
    """Raise CheckpointError for a folder that holds a training's checkpoint, and no model."""
    if form == "transformers" or has_safetensors(folder) or (folder / EXPORT).exists():
        return
    for file in sorted(folder.glob(_CHECKPOINTS)):
        raise CheckpointError(
            f"{file}: is a checkpoint of a training with AudioCraft, not an export. {EXPORT_AGAIN}"
        )


def export_advice(file: Path) -> str:
    """Name the calls that turn a file of `torch.save` with objects in it into an export."""
    names = _pickled(file)
    is_fine_tuned = b"xp.cfg" in names and b"model" in names and b"best_state" not in names
    return _FINE_TUNED if is_fine_tuned else EXPORT_AGAIN


def advice_for(names: set[str]) -> str:
    """Name the calls for a package of plain data with these names, of which none is `best_state`."""
    return _FINE_TUNED if {"xp.cfg", "model"} <= names else EXPORT_AGAIN


def _pickled(file: Path) -> bytes:
    """The pickle of a file of `torch.save`, which is not run; empty if it is not readable."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = [one for one in archive.infolist() if one.filename.endswith("/data.pkl")]
            return b"".join(archive.read(one) for one in found if one.file_size <= _MOST_BYTES)
    except (OSError, zipfile.BadZipFile):
        return b""
