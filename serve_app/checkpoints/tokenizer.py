"""Tokenizer of the text encoder, read from its own files alone.

Transformers also reads config.json beside them, and its faults would pass for the tokenizer's.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serve_app.checkpoints.faults import faults_named
from serve_app.errors import CheckpointError

_TOKENIZER = "tokenizer.json"
_VOCABULARY = "spiece.model"
_OPTIONS = "tokenizer_config.json"
_JSON_FILES = (_OPTIONS, "special_tokens_map.json", "added_tokens.json")
_SAMPLE = "a calm piano melody"
_UNREADABLE = "the tokenizer cannot be read"
_CURE = "Copy the files of the text encoder's own tokenizer into the folder."


def read_tokenizer(folder: Path, vocab_size: int) -> Any:
    """Read the tokenizer as transformers' `AutoTokenizer` does for a T5.

    Raises CheckpointError naming the file that is missing or damaged, or if the tokenizer gives no
    ids of T5's vocabulary.
    """
    file = _check_files(folder)
    options = folder / _OPTIONS
    with faults_named(options if options.exists() else file, _UNREADABLE, _CURE):
        tokenizer = _load(folder)
        size = len(tokenizer)
        ids = tokenizer(_SAMPLE)["input_ids"]
    if not ids or size > vocab_size:
        raise CheckpointError(
            f"{file}: the tokenizer has {size} tokens, the text encoder {vocab_size}, and "
            f"'{_SAMPLE}' has {len(ids)}. {_CURE}"
        )
    return tokenizer


def _check_files(folder: Path) -> Path:
    """Check each file by itself. Returns the one with the vocabulary."""
    from tokenizers import Tokenizer

    for name in _JSON_FILES:
        _check_object(folder / name)
    if (file := folder / _TOKENIZER).exists():
        with faults_named(file, _UNREADABLE, _CURE):
            Tokenizer.from_file(str(file))
        return file
    # Without this check transformers would build an empty tokenizer.
    if not (folder / _VOCABULARY).exists():
        raise CheckpointError(
            f"{folder}: has no tokenizer ({_TOKENIZER} or {_VOCABULARY}). Copy the files of the "
            "text encoder's tokenizer into it."
        )
    return folder / _VOCABULARY


def _check_object(file: Path) -> None:
    if not file.exists():
        return
    with faults_named(file, _UNREADABLE, _CURE):
        content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds no JSON object, but {str(content)[:40]!r}. {_CURE}")


def _load(folder: Path) -> Any:
    """Load the tokenizer from a folder of links to its files, in which no config.json is."""
    from transformers import AutoTokenizer, T5Config

    with TemporaryDirectory(prefix="tokenizer-") as linked:
        for name in (_TOKENIZER, _VOCABULARY, *_JSON_FILES):
            if (folder / name).exists():
                (Path(linked) / name).symlink_to((folder / name).resolve())
        return AutoTokenizer.from_pretrained(
            linked, config=T5Config(), trust_remote_code=False, local_files_only=True
        )
