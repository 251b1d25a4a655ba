"""The Hugging Face format: a clear error for everything that can be wrong in a folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.errors import CheckpointError


def edit_tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def edit_json(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        for path, value in values.items():
            node = config
            *parents, leaf = path.split("__")
            for parent in parents:
                node = node[parent]
            node[leaf] = value
        (folder / "config.json").write_text(json.dumps(config))

    return edit


HEAD = "decoder.lm_heads.2.weight"
HUGGINGFACE_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (edit_tensors(lambda t: t.pop(HEAD)), rf"model.safetensors: tensor '{HEAD}' is missing"),
    (
        edit_tensors(lambda t: t.update(extra=torch.ones(1))),
        "model.safetensors: unexpected tensors 'extra'",
    ),
    (
        edit_tensors(lambda t: t.update({HEAD: t[HEAD][:, 1:].contiguous()})),
        r"lm_heads.2.weight' has shape \(64, 31\), which cannot be joined to \(64, 32\)",
    ),
    (
        edit_tensors(lambda t: t.update({"enc_to_dec_proj.weight": torch.ones(3, 3)})),
        r"tensor 'enc_to_dec_proj.weight' has shape \(3, 3\), but .* needs \(32, 24\)",
    ),
    (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: the file is missing"),
    (
        lambda f: (f / "model.safetensors").write_bytes(b"not tensors at all"),
        "not a readable safetensors file",
    ),
    (lambda f: (f / "config.json").unlink(), "config.json: missing or not JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "config.json: has no 'model_type'"),
    (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    (edit_json(model_type="musicgen_melody"), "model_type 'musicgen_melody' is not supported"),
    (edit_json(decoder__activation_function="relu"), "decoder.activation_function is 'relu'"),
    (edit_json(audio_encoder__normalize=True), "audio_encoder.normalize is True"),
    (edit_json(decoder__num_hidden_layers=4), "layers.3.*is missing"),
    (edit_json(decoder__num_hidden_layers=2), "unexpected tensors 'decoder.model.decoder.layers.2"),
]


@pytest.mark.parametrize(
    ("break_it", "said"), HUGGINGFACE_FAULTS, ids=[said[:40] for _, said in HUGGINGFACE_FAULTS]
)
def test_faults_of_a_huggingface_folder_are_named(
    huggingface: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(huggingface)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(huggingface))
    assert re.search(said, caught.value.message), caught.value.message
