"""Fine-tunes share a checkpoint's codec and text encoder, and are found before they are loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.fine_tune import find_fine_tune
from serve_app.config.adapter import AdapterSource
from serve_app.config.model_loading import ModelLoadingConfig
from serve_app.errors import CheckpointError
from tests.adapters import write_plain_adapter
from tests.architectures import MONO

WIDTH = MONO.hidden_size


@pytest.fixture(scope="module")
def base(huggingface_model: Path) -> Checkpoint:
    return load_checkpoint(str(huggingface_model))


def loading(folder: Path, *adapters: Path) -> ModelLoadingConfig:
    sources = tuple(AdapterSource(source=str(adapter)) for adapter in adapters)
    return ModelLoadingConfig(model_id="tuned", model_source=str(folder), adapter_source=sources)


def change(folder: Path, prefix: str) -> str:
    """Change the first tensor with this prefix, and return its name."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.startswith(prefix))
    save_file(tensors | {name: tensors[name] + 0.5}, file, {"format": "pt"})
    return name


def test_a_fine_tune_has_its_own_weights_and_the_bases_shape(
    base: Checkpoint, huggingface: Path
) -> None:
    change(huggingface, "decoder.lm_heads")
    found = find_fine_tune(loading(huggingface), base)
    assert found.musicgen.embedding.weight.is_meta, "no memory is taken yet"
    tuned = found.load(torch.float32, torch.device("cpu"))
    assert tuned.config == base.musicgen.config
    wanted = load_checkpoint(str(huggingface)).musicgen.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in tuned.state_dict().items())
    assert not torch.equal(tuned.heads.weight, base.musicgen.heads.weight)
    assert not any(parameter.requires_grad for parameter in tuned.parameters())


def test_adapters_are_merged(base: Checkpoint, huggingface: Path, tmp_path: Path) -> None:
    adapter = write_plain_adapter(tmp_path / "adapter", 1, WIDTH, MONO.num_layers)
    named = loading(huggingface, adapter)
    tuned = find_fine_tune(named, base, same_parts=True).load(torch.float32, torch.device("cpu"))
    wanted = load_checkpoint(str(huggingface), adapters=named.adapter_source).musicgen.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in tuned.state_dict().items())


def test_an_export_fits_an_export(export: Path) -> None:
    base = load_checkpoint(str(export))
    found = find_fine_tune(loading(export), base)
    tuned = found.load(torch.float32, torch.device("cpu"))
    assert torch.equal(tuned.heads.weight, base.musicgen.heads.weight)


@pytest.mark.parametrize(
    ("prefix", "role"), [("audio_encoder.", "codec"), ("text_encoder.", "text encoder")]
)
def test_another_codec_or_text_encoder_is_refused(
    prefix: str, role: str, base: Checkpoint, huggingface: Path
) -> None:
    change(huggingface, prefix)
    with pytest.raises(CheckpointError, match=f"its {role} is not that of the model"):
        find_fine_tune(loading(huggingface), base)


def test_another_shape_is_refused_with_what_differs(base: Checkpoint, huggingface: Path) -> None:
    config = json.loads((huggingface / "config.json").read_text())
    config["decoder"]["ffn_dim"] = 64
    (huggingface / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"differs in shape .* ffn_dim=64, .*ffn_dim=128"):
        find_fine_tune(loading(huggingface), base)


def test_an_adapter_of_another_width_is_refused_before_the_load(
    base: Checkpoint, huggingface: Path, tmp_path: Path
) -> None:
    adapter = write_plain_adapter(tmp_path / "adapter", 1, WIDTH + 2, MONO.num_layers)
    with pytest.raises(CheckpointError, match="changes a weight of"):
        find_fine_tune(loading(huggingface, adapter), base)


def test_an_empty_folder_is_refused(base: Checkpoint, huggingface: Path) -> None:
    shutil.rmtree(huggingface)
    huggingface.mkdir()
    with pytest.raises(CheckpointError):
        find_fine_tune(loading(huggingface), base)
