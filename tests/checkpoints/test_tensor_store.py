"""Tensors are read without running code, joined, and accounted for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.tensor_store import TensorStore, Third
from serve_app.errors import CheckpointError
from tests.architectures import MONO, write_huggingface
from tests.checkpoints.test_checkpoint import same_weights


def test_sources_are_joined_over_their_rows() -> None:
    packed = torch.arange(12.0).view(6, 2)
    store = TensorStore("file", {"packed": packed, "other": torch.ones(1, 2)})
    assert torch.equal(
        store.take((Third("packed", 1, 3), "other")), torch.cat([packed[2:], torch.ones(1, 2)])
    )
    store.check_all_taken(ignored="")


def test_weight_norm_is_folded() -> None:
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 5))
    plain = nn.Sequential(nn.Conv1d(3, 4, 5)).requires_grad_(False)
    store = TensorStore("file", nn.Sequential(convolution).requires_grad_(False).state_dict())
    sources = {"0.weight": ("0.weight",), "0.bias": ("0.bias",)}
    store.fill(plain, sources, torch.float32, torch.device("cpu"))
    torch.testing.assert_close(plain.state_dict()["0.weight"], convolution.weight)
    store.check_all_taken(ignored="")


def test_faults_name_origin_and_tensor() -> None:
    store = TensorStore("file", {"a": torch.ones(2, 3), "b": torch.ones(2, 4)})
    with pytest.raises(
        CheckpointError, match=r"file: tensor 'b' has shape \(2, 4\).*\(2, 3\) of 'a'"
    ):
        store.take(("a", "b"))
    with pytest.raises(CheckpointError, match="file: tensor 'c' is missing"):
        store.take(("c",))
    fresh = TensorStore("file", {"a": torch.ones(1), "b": torch.ones(1), "c": torch.ones(1)})
    fresh.take(("a",))
    with pytest.raises(
        CheckpointError, match=r"file: unexpected tensors 'b'\. The .* another architecture"
    ):
        fresh.check_all_taken(ignored="c")


def test_shards_are_read(tmp_path: Path, huggingface: Path) -> None:
    sharded = write_huggingface(MONO, tmp_path / "sharded", max_shard_size="50KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    whole = load_checkpoint(str(huggingface))
    assert same_weights(load_checkpoint(str(sharded)).musicgen, whole.musicgen)


def test_plain_weights_are_read_as_weight_normed_ones(huggingface: Path) -> None:
    """Weight norm is folded in the published files' form and in the newer form of transformers."""
    before = load_checkpoint(str(huggingface)).codec
    file = huggingface / "model.safetensors"
    old = {
        name.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): tensor
        for name, tensor in load_file(file).items()
    }
    assert any(name.endswith(".weight_g") for name in old)
    save_file(old, file)
    assert same_weights(load_checkpoint(str(huggingface)).codec, before)


def test_pickled_weights_of_transformers_are_not_read(huggingface: Path) -> None:
    (huggingface / "model.safetensors").rename(huggingface / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin\) are not read: save the model again"
    ):
        load_checkpoint(str(huggingface))


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.file,)  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["state_dict.bin", "compression_state_dict.bin"])
def test_unsafe_pickle_is_refused_and_not_run(tmp_path: Path, export: Path, name: str) -> None:
    trap = tmp_path / "run"
    torch.save({"best_state": {}, "xp.cfg": Malicious(trap)}, export / name)
    with pytest.raises(
        CheckpointError, match=rf"{name}: refused, because this pickle holds more than tensors"
    ):
        load_checkpoint(str(export))
    assert not trap.exists()
