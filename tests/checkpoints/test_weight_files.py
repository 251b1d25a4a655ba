"""Files beside the weights: what would be ignored is refused, what the hub holds besides is not."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.inventory import check_source
from serve_app.checkpoints.weight_files import weight_files
from serve_app.errors import CheckpointError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Of facebook/musicgen-small and its like; the hub's pickles are not fetched, but a clone has them.
ALLOWED = [
    "pytorch_model.bin",
    "state_dict.bin",
    "compression_state_dict.bin",
    "flax_model.msgpack",
    "onnx/decoder_model.onnx",
    "checkpoint-500/model.safetensors",
    "model.fp16.safetensors",
    "model.fp32-00001-of-00003.safetensors",
    "model-00001-of-00003.bf16.safetensors",
    "model.safetensors.index.fp32.json",
]
ADAPTERS = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "adapters.safetensors",
    "adapters.npz",
    "pytorch_lora_weights.safetensors",
    "pytorch_lora_weights.bin",
    "adapter/adapter_config.json",
    "runs/7/adapter_model.safetensors",
]
STRANGERS = [
    "lora.safetensors",
    "model-00001-of-00002.safetensors",
    "model.ema.safetensors",
    "diffusion_pytorch_model.safetensors",
]


def put(folder: Path, name: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"{}")
    return file


def fault(folder: Path) -> str:
    """Message of loading, which is that of the check before a start."""
    with pytest.raises(CheckpointError) as at_start:
        check_source(str(folder))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(folder))
    assert at_start.value.message == caught.value.message
    return caught.value.message


def test_files_that_real_repositories_hold_are_no_fault(huggingface: Path) -> None:
    for name in ALLOWED:
        put(huggingface, name)
    check_source(str(huggingface))
    load_checkpoint(str(huggingface))


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_is_refused(huggingface: Path, name: str) -> None:
    file = put(huggingface, name)
    assert fault(huggingface).startswith(f"{file}: the folder holds a LoRA adapter")


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "lora/adapter_config.json"])
def test_an_adapter_beside_an_export_is_refused(export: Path, name: str) -> None:
    file = put(export, name)
    assert fault(export).startswith(f"{file}: the folder holds a LoRA adapter")


@pytest.mark.parametrize("name", STRANGERS)
def test_weights_that_would_be_ignored_are_refused(huggingface: Path, name: str) -> None:
    file = put(huggingface, name)
    assert fault(huggingface).startswith(f"{file}: would be ignored, because a model is loaded")


def test_a_shard_that_the_index_does_not_name_is_refused(huggingface: Path) -> None:
    (huggingface / WEIGHTS).rename(huggingface / "one.safetensors")
    index = {
        "weight_map": dict.fromkeys(load_file(huggingface / "one.safetensors"), "one.safetensors")
    }
    (huggingface / INDEX).write_text(json.dumps(index))
    load_checkpoint(str(huggingface))
    shutil.copy(huggingface / "one.safetensors", huggingface / "two.safetensors")
    assert fault(huggingface).startswith(f"{huggingface / 'two.safetensors'}: would be ignored")


def test_the_same_weights_in_shards_beside_the_single_file_are_allowed(huggingface: Path) -> None:
    """A repository may hold both; transformers loads the single file, too."""
    shard = "model-00001-of-00001.safetensors"
    shutil.copy(huggingface / "model.safetensors", huggingface / shard)
    tensors = dict.fromkeys(load_file(huggingface / shard), shard)
    (huggingface / INDEX).write_text(json.dumps({"weight_map": tensors}))
    load_checkpoint(str(huggingface))


def test_an_index_that_names_missing_shards_beside_the_single_file_is_refused(
    huggingface: Path,
) -> None:
    (huggingface / INDEX).write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    message = fault(huggingface)
    assert message.startswith(f"{huggingface / INDEX}: names the file 'model-00001-of-00002.")
    assert "remove the index, or add its shards" in message


def test_an_index_of_the_single_file_must_list_its_tensors(huggingface: Path) -> None:
    listed = dict.fromkeys(load_file(huggingface / WEIGHTS), WEIGHTS)
    (huggingface / INDEX).write_text(json.dumps({"weight_map": listed}))
    assert weight_files(huggingface) == [huggingface / WEIGHTS]
    load_checkpoint(str(huggingface))
    del listed["enc_to_dec_proj.bias"]
    (huggingface / INDEX).write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(CheckpointError, match=r"'enc_to_dec_proj.bias', which the index .* places"):
        load_checkpoint(str(huggingface))
