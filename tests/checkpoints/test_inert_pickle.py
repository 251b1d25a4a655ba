"""Objects of OmegaConf are read as plain values; every other class is refused, and nothing is run."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from serve_app.checkpoints.inert_pickle import read_inert
from serve_app.errors import CheckpointError

VALUES: dict[str, Any] = {"a": 1, "b": {"c": [8, 5.5, "${a}"], "d": None, "e": True}}


def saved(file: Path, content: Any) -> Path:
    torch.save(content, file)
    return file


def test_a_configuration_becomes_plain_values(tmp_path: Path) -> None:
    content = {"xp.cfg": DictConfig(VALUES), "list": ListConfig([1, 2]), "t": torch.ones(2)}
    read = read_inert(saved(tmp_path / "a.pth", content))
    assert read["xp.cfg"] == VALUES
    assert read["list"] == [1, 2]
    assert read["t"].tolist() == [1, 1]


def test_a_structured_configuration_becomes_plain_values(tmp_path: Path) -> None:
    content = {"xp.cfg": OmegaConf.create({"x": 1.5, "y": {"z": "w"}}, flags={"readonly": True})}
    assert read_inert(saved(tmp_path / "a.pth", content))["xp.cfg"] == {"x": 1.5, "y": {"z": "w"}}


def test_the_inert_classes_are_those_of_one_call(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.pth", {"xp.cfg": DictConfig(VALUES)})
    read_inert(file)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(file, weights_only=True)


class Other:
    """A class that no file may name."""


@pytest.mark.parametrize("content", [{"a": Other()}, {"a": Path("/")}, {"a": print}])
def test_other_classes_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match="not a readable PyTorch file of tensors"):
        read_inert(saved(tmp_path / "a.pth", content))


def test_a_file_that_is_no_dict_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a list"):
        read_inert(saved(tmp_path / "a.pth", [1]))
    with pytest.raises(CheckpointError, match="the file is missing"):
        read_inert(tmp_path / "b.pth")


def test_the_older_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save({"a": 1}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"before 1\.6"):
        read_inert(file)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**17))
    assert file.stat().st_size < 2**16
    with pytest.raises(CheckpointError, match="unpacks to 131072 bytes"):
        read_inert(file, 2**16)


def test_a_nesting_without_end_is_refused(tmp_path: Path) -> None:
    nested: list[Any] = [1]
    for _ in range(100):
        nested = [nested]
    with pytest.raises(CheckpointError, match="nested too deeply"):
        read_inert(saved(tmp_path / "a.pth", {"xp.cfg": nested}))


@pytest.mark.parametrize("key", ["xp.cfg", "model"])
def test_a_value_that_repeats_without_end_is_refused(tmp_path: Path, key: str) -> None:
    """Thirty lists, each of which holds the one before it twice, are a file of a few kilobytes."""
    doubled: list[Any] = [1]
    for _ in range(30):
        doubled = [doubled, doubled]
    file = saved(tmp_path / "a.pth", {key: {"a": doubled}})
    assert file.stat().st_size < 2**14
    with pytest.raises(CheckpointError, match="holds more than 1000000 values"):
        read_inert(file)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(1).expand(2**20, 2**20),
        torch.ones(2**20, 2**20, device="meta"),
    ],
    ids=["expanded", "meta"],
)
def test_a_tensor_that_is_larger_than_its_file_is_refused(
    tmp_path: Path, tensor: torch.Tensor
) -> None:
    file = saved(tmp_path / "a.pth", {"0": {"model_state": {"weight": tensor}}})
    with pytest.raises(CheckpointError, match="holds a tensor of"):
        read_inert(file)
