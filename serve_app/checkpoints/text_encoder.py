"""Loading of the text encoder: from a MusicGen checkpoint or from a T5 repository.

Its weights stay in fp32.
"""

from pathlib import Path
from typing import Any

import torch

from serve_app.checkpoints import huggingface
from serve_app.checkpoints.tensor_store import Source, TensorStore, read_safetensors
from serve_app.errors import CheckpointError
from serve_app.models.t5 import TextEncoder

_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
# T5's decoder, and copies of the tied embedding
_IGNORED = r"decoder\..*|lm_head\..*|(encoder\.embed_tokens|shared)\.weight"


def load_text_encoder(folder: Path, device: torch.device) -> TextEncoder:
    """Load a T5 repository, such as t5-base; its decoder, if any, is left out.

    Raises CheckpointError naming the file and the tensor.
    """
    from transformers import T5Config

    huggingface.check_model_type(folder, "t5", "a text encoder")
    store = read_safetensors(folder)
    text_encoder = build_text_encoder(folder, T5Config.from_pretrained(folder), store, "", device)
    store.check_all_taken(ignored=_IGNORED)
    return text_encoder


def build_text_encoder(
    folder: Path, config: Any, store: TensorStore, prefix: str, device: torch.device
) -> TextEncoder:
    """Build T5 from the tensors of `store` whose names begin with `prefix`.

    folder: of the tokenizer; config: transformers' T5Config.
    """
    from transformers import T5EncoderModel

    tokenizer = _read_tokenizer(folder)
    with torch.device("meta"):
        t5 = T5EncoderModel(config)
    tied = [f"{prefix}shared.weight", f"{prefix}encoder.embed_tokens.weight"]
    embedding = next((name for name in tied if name in store), tied[0])
    sources: dict[str, tuple[Source, ...]] = {
        name: (f"{prefix}{name}",) for name in t5.state_dict()
    }
    sources |= {name.removeprefix(prefix): (embedding,) for name in tied}
    store.fill(t5, sources, torch.float32, device)
    return TextEncoder(t5, tokenizer, config.d_model)


def _read_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    # Without this check transformers would build an empty tokenizer.
    if not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise CheckpointError(
            f"{folder}: has no tokenizer ({' or '.join(_TOKENIZER_FILES)}). Copy the files of the "
            "text encoder's tokenizer into it."
        )
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder}: its tokenizer cannot be read ({error}). Save it again."
        ) from error
