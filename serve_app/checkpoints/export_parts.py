"""Parts of an AudioCraft export that it names and does not hold: its text encoder, often its codec."""

from pathlib import Path

from serve_app.checkpoints.codec import COMPRESSION, named_codec
from serve_app.checkpoints.experiment_config import read_export
from serve_app.checkpoints.weight_files import EXPORT, is_export
from serve_app.config.model_loading import NamedSource

_T5 = "conditioners.description.t5"


def parts_of(model: NamedSource, folder: Path) -> list[NamedSource]:
    """List the sources of the parts that `model`, whose files are in `folder`, needs besides.

    Raises CheckpointError if a file of the export cannot be read.
    """
    if not is_export(folder, model.form):
        return []
    return [*_text_encoder(model, folder / EXPORT), *_codec(model, folder / COMPRESSION)]


def _text_encoder(model: NamedSource, file: Path) -> list[NamedSource]:
    if not model.needs_text_encoder or not file.exists():
        return []
    cfg, _ = read_export(file)
    return [NamedSource(cfg.fields(_T5).text("name"))]


def _codec(model: NamedSource, file: Path) -> list[NamedSource]:
    if not model.needs_codec or not file.exists():
        return []
    source = named_codec(file)
    return [] if source is None else [NamedSource(source)]
