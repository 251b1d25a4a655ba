"""Files of tensors: shards and their index, damaged files, and pickles that could run code."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.inventory import check_source
from serve_app.errors import CheckpointError
from tests.architectures import MONO, write_huggingface
from tests.checkpoints.test_checkpoint import same_weights

INDEX = "model.safetensors.index.json"
EXPORT_FILES = ["state_dict.bin", "compression_state_dict.bin"]


@pytest.fixture(scope="module")
def sharded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_huggingface(
        MONO, tmp_path_factory.mktemp("sharded") / "model", max_shard_size="200KB"
    )


@pytest.fixture
def sharded(tmp_path: Path, sharded_model: Path) -> Path:
    return Path(shutil.copytree(sharded_model, tmp_path / "sharded"))


def edit_index(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        change(index)
        (folder / INDEX).write_text(json.dumps(index))

    return edit


def shard(folder: Path, number: int) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[number]


def put_twice(folder: Path) -> None:
    """Put a tensor of the first shard into the second as well."""
    tensors = load_file(shard(folder, 1))
    name, tensor = next(iter(load_file(shard(folder, 0)).items()))
    save_file(tensors | {name: tensor}, shard(folder, 1))


SHARD_FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / INDEX).write_text("{"), f"{INDEX}: not a readable index"),
    (lambda f: (f / INDEX).write_text("{}"), f"{INDEX}: not a readable index"),
    (lambda f: (f / INDEX).write_text("[]"), f"{INDEX}: not a readable index"),
    (edit_index(lambda i: i.update(weight_map=[])), f"{INDEX}: not a readable index"),
    (edit_index(lambda i: i.update(weight_map={})), f"{INDEX}: its weight_map is empty"),
    (edit_index(lambda i: i["weight_map"].update(x=7)), f"{INDEX}: names the file 7"),
    (edit_index(lambda i: i["weight_map"].update(x="../up.safetensors")), "'../up.safetensors'"),
    (edit_index(lambda i: i["weight_map"].update(x="model.bin")), "names the file 'model.bin'"),
    (edit_index(lambda i: i["weight_map"].update(x="gone.safetensors")), "gone.* file is missing"),
    (lambda f: shard(f, 1).unlink(), r"model-00002-of-\d+.safetensors: the file is missing"),
    (lambda f: shard(f, 1).write_bytes(shard(f, 1).read_bytes()[:-5]), "00002.* not a readable"),
    (put_twice, r"00002.*: has tensor '.*', which the index .* places in model-00001"),
    (
        edit_index(lambda i: i["weight_map"].pop("enc_to_dec_proj.bias")),
        "has tensor 'enc_to_dec_proj.bias', which the index .* places in no file",
    ),
]


@pytest.mark.parametrize(
    ("break_it", "said"), SHARD_FAULTS, ids=[said[:40] for _, said in SHARD_FAULTS]
)
def test_faults_of_shards_are_named(
    sharded: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(sharded)
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(str(sharded))


def test_a_tensor_that_is_twice_in_a_file_is_named(huggingface: Path) -> None:
    file = huggingface / "model.safetensors"
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].rstrip()
    entry = json.dumps(json.loads(header)["enc_to_dec_proj.bias"])
    header = header[:-1] + f', "enc_to_dec_proj.bias": {entry}}}'.encode()
    file.unlink()
    file.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    with pytest.raises(CheckpointError, match=r"two tensors of the name 'enc_to_dec_proj.bias'"):
        load_checkpoint(str(huggingface))


def test_a_file_that_the_system_cannot_read_is_named(huggingface: Path) -> None:
    (huggingface / "model.safetensors").unlink()
    (huggingface / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"model.safetensors: not a readable safetensors"):
        load_checkpoint(str(huggingface))


def test_shards_are_read(sharded: Path, huggingface: Path) -> None:
    assert len(list(sharded.glob("*.safetensors"))) > 2
    whole = load_checkpoint(str(huggingface))
    assert same_weights(load_checkpoint(str(sharded)).musicgen, whole.musicgen)


def test_pickled_weights_of_transformers_are_not_read(huggingface: Path) -> None:
    (huggingface / "model.safetensors").rename(huggingface / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin\) are not read: save the model again"
    ):
        load_checkpoint(str(huggingface))


def rewrite_in_older_format(file: Path, protocol: int = 2) -> None:
    package = torch.load(file, weights_only=True)
    file.unlink()
    torch.save(package, file, pickle_protocol=protocol, _use_new_zipfile_serialization=False)


def test_exports_in_the_older_format_are_read(export: Path) -> None:
    expected = load_checkpoint(str(export)).musicgen
    for name in EXPORT_FILES:
        rewrite_in_older_format(export / name)
    check_source(str(export))
    assert same_weights(load_checkpoint(str(export)).musicgen, expected)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_another_protocol_of_the_older_format_is_refused_before_a_start(
    export: Path, protocol: int
) -> None:
    file = export / "state_dict.bin"
    rewrite_in_older_format(file, protocol)
    for read in (check_source, load_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            read(str(export))
        assert caught.value.message.startswith(f"{file}: is no file of torch.save: it begins with")


PAGE = b"<!DOCTYPE html><title>404</title>"
POINTER = b"version https://git-lfs.github.com/spec/v1"


@pytest.mark.parametrize("name", EXPORT_FILES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)."),
        (PAGE, "is no file of torch.save: it begins with b'<!DOCTYPE html><'."),
        (POINTER, "is no file of torch.save: it begins with b'version https://'."),
        (pickle.dumps({"best_state": {}}), "is no file of torch.save: it begins with b'\\x80"),
        (b"PK\x03\x04cut off", "not a readable PyTorch file."),
    ],
    ids=["empty", "page", "pointer", "pickle", "archive"],
)
def test_files_that_are_not_of_torch_are_named_with_the_reason(
    export: Path, name: str, content: bytes, said: str
) -> None:
    file = export / name
    file.unlink()
    file.write_bytes(content)
    for read in (check_source, load_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            read(str(export))
        assert caught.value.message.startswith(f"{file}: {said}")


def test_an_older_file_that_ends_early_is_named(export: Path) -> None:
    file = export / "state_dict.bin"
    rewrite_in_older_format(file)
    content = file.read_bytes()
    for length in (20, 40, 200, 2000, len(content) - 9):
        file.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(str(export))
        assert caught.value.message.startswith(f"{file}: ")
        assert "refused" not in caught.value.message


def test_a_tensor_without_values_is_named(export: Path) -> None:
    file = export / "state_dict.bin"
    package = torch.load(file, weights_only=True)
    package["best_state"]["emb.1.weight"] = package["best_state"]["emb.1.weight"].to("meta")
    file.unlink()
    torch.save(package, file)
    with pytest.raises(CheckpointError, match=r"tensor 'emb.1.weight' has no values, only a shape"):
        load_checkpoint(str(export))


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
