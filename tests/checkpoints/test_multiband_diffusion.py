"""MultiBand Diffusion's files: conversion without running code, and loading of what fits."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.checkpoints.diffusion_file import FACTS, WEIGHTS, read_facts
from serve_app.checkpoints.multiband_diffusion import convert, load_multiband_diffusion
from serve_app.errors import CheckpointError, ConfigError
from tests.diffusion import NUM_BANDS, diffusion_package


@pytest.fixture(scope="module")
def package(nano: Checkpoint) -> dict[Any, Any]:
    return diffusion_package(nano.sample_rate, nano.codec.config.codebook_dim)


@pytest.fixture
def folder(package: dict[Any, Any], tmp_path: Path) -> Path:
    return converted(package, tmp_path)


def converted(package: dict[Any, Any], tmp_path: Path) -> Path:
    torch.save(package, tmp_path / "mbd.th")
    convert(tmp_path / "mbd.th", tmp_path / "out")
    return tmp_path / "out"


def test_a_converted_file_has_every_tensor_and_the_architecture(
    package: dict[Any, Any], folder: Path
) -> None:
    tensors = load_file(folder / WEIGHTS)
    for number in range(NUM_BANDS):
        for part, state in (("unet", "model_state"), ("processor", "processor_state")):
            for name, value in package[number][state].items():
                assert torch.equal(tensors.pop(f"{number}.{part}.{name}"), value)
    assert not tensors
    _, facts = read_facts(str(folder))
    assert len(facts.bands) == NUM_BANDS
    assert facts.bands[1].processor.n_bands == 5
    assert facts.bands[0].schedule.beta_exp == 7.5
    assert facts.bands[0].diffusion_unet.emb_all_layers


@pytest.mark.parametrize("name", ["", WEIGHTS])
def test_a_folder_or_its_file_is_loaded(nano: Checkpoint, folder: Path, name: str) -> None:
    loaded = load_multiband_diffusion(str(folder / name), nano.codec)
    assert loaded is not None
    assert loaded.evaluations == 20 * NUM_BANDS


def test_no_source_is_no_diffusion(nano: Checkpoint) -> None:
    assert load_multiband_diffusion(None, nano.codec) is None


class Evil:
    """An object whose unpickling would write a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return (Path.write_text, (self._file, "ran"))


def test_a_file_with_code_is_refused_and_not_run(package: dict[Any, Any], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save(package | {"more": Evil(ran)}, tmp_path / "mbd.th")
    with pytest.raises(CheckpointError, match="not a readable PyTorch file"):
        convert(tmp_path / "mbd.th", tmp_path / "out")
    assert not ran.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda package: package.pop("n_bands"), "n_bands is None"),
        (lambda package: package.pop(1), "band 1 lacks"),
        (lambda package: package[0].pop("cfg"), "band 0 lacks"),
        (lambda package: package.pop("sample_rate"), "sample_rate"),
        (lambda package: package[0]["model_state"].update(a="text"), "more than named tensors"),
        (
            lambda package: package[0]["model_state"].update(a=torch.tensor([float("nan")])),
            "tensor 'a' of '0.unet' is not finite",
        ),
        (lambda package: package[0]["cfg"].schedule.update(num_steps=50), "schedule.num_steps"),
        (lambda package: package[0]["cfg"].diffusion_unet.update(codec_dim=None), "codec_dim"),
        (lambda package: package[0]["cfg"].diffusion_unet.update(codec_dim=3), "of the widths"),
        (lambda package: package[0]["cfg"].diffusion_unet.update(novel=1), "diffusion_unet.novel"),
        (lambda package: package[0]["cfg"].update(channels=2), "bands.0.channels"),
    ],
)
def test_what_is_not_supported_is_named(
    change: Any, message: str, nano: Checkpoint, tmp_path: Path
) -> None:
    package = diffusion_package(nano.sample_rate, nano.codec.config.codebook_dim)
    change(package)
    with pytest.raises(CheckpointError, match=message):
        converted(package, tmp_path)


def test_names_of_one_tensor_are_refused(package: dict[Any, Any], tmp_path: Path) -> None:
    state = package[0]["model_state"]
    first = next(iter(state))
    doubled = {**package[0], "model_state": state | {"another": state[first]}}
    with pytest.raises(CheckpointError, match=r"mbd\.th: has several names for the memory"):
        converted(package | {0: doubled}, tmp_path)


def test_a_file_that_cannot_be_written_is_named(package: dict[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "out" / WEIGHTS).mkdir(parents=True)
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: cannot be written"):
        converted(package, tmp_path)


def test_what_is_missing_is_named(nano: Checkpoint, folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file.*musicgen convert-mbd"):
        load_multiband_diffusion(str(folder / "nothing"), nano.codec)
    (folder / FACTS).write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        load_multiband_diffusion(str(folder), nano.codec)
    (folder / FACTS).unlink()
    with pytest.raises(CheckpointError, match=FACTS):
        load_multiband_diffusion(str(folder), nano.codec)


def test_tensors_of_another_architecture_are_named(nano: Checkpoint, folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors.pop("0.unet.conv_codec.weight")
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"tensors '0.unet.\*' do not fit.*conv_codec.weight"):
        load_multiband_diffusion(str(folder), nano.codec)


@pytest.mark.parametrize("field", ["sample_rate", "codec_dim"])
def test_another_codec_is_refused(nano: Checkpoint, folder: Path, field: str) -> None:
    facts = json.loads((folder / FACTS).read_text())
    if field == "sample_rate":
        facts["sample_rate"] = 24_000
    else:
        for band in facts["bands"]:
            band["diffusion_unet"]["codec_dim"] = 3
    (folder / FACTS).write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="does not fit the model's codec"):
        load_multiband_diffusion(str(folder), nano.codec)


def test_a_missing_audiocraft_is_named(
    nano: Checkpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "audiocraft.models.unet", None)
    with pytest.raises(ConfigError, match=r"needs AudioCraft.*--extra audiocraft"):
        load_multiband_diffusion(str(folder), nano.codec)
