"""Systematic mutations of small checkpoints: a model that works, or a CheckpointError. Nothing else."""

import copy
import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from serve_app.checkpoints import audiocraft
from serve_app.checkpoints.building import build
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.experiment_config import ExperimentConfig
from serve_app.errors import CheckpointError
from serve_app.models.encodec.model import Encodec
from serve_app.models.musicgen.model import MusicGen
from tests.architectures import MELODY, MONO, codec_experiment_config, experiment_config

VALUES: list[Any] = ["32", "", 1.5, -1, 0, 7, 10**12, None, True, [], [3], {}, float("nan")]
SECTIONS = ("", "decoder", "text_encoder", "audio_encoder")
Path_ = tuple[str, ...]


def outcome(folder: Path) -> str:
    """`loaded` or the message of the CheckpointError; whatever else is raised fails the test."""
    try:
        checkpoint = load_checkpoint(str(folder))
    except CheckpointError as error:
        return error.message
    assert_works(checkpoint)
    return "loaded"


@torch.inference_mode()
def assert_works(checkpoint: Checkpoint) -> None:
    """Run text encoder and codec: what was loaded has to be usable."""
    states = checkpoint.text_encoder(checkpoint.text_encoder.tokenize("calm piano"))
    assert states.isfinite().all()
    codec = checkpoint.codec
    codes = torch.zeros(1, codec.config.num_quantizers, 3, dtype=torch.int64)
    audio = codec.decode(codes)
    assert audio.shape == (1, codec.config.channels, 3 * codec.config.hop_length)


def put(config: Any, path: Path_, value: Any) -> Any:
    """Copy of the configuration with another value at `path`."""
    changed = copy.deepcopy(config)
    node = changed
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return changed


def leaves(config: dict[str, Any], path: Path_ = ()) -> Iterator[Path_]:
    """Paths of all values, sections included."""
    for name, value in config.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))


@pytest.mark.long
@pytest.mark.parametrize("section", SECTIONS)
def test_every_value_of_a_huggingface_configuration(huggingface: Path, section: str) -> None:
    file = huggingface / "config.json"
    config = json.loads(file.read_text())
    names = config[section] if section else config
    draw = random.Random(section)
    outcomes = set()
    for name in names:
        path = (section, name) if section else (name,)
        for value in draw.sample(VALUES, 6):
            file.write_text(json.dumps(put(config, path, value)))
            outcomes.add(outcome(huggingface))
    assert "loaded" in outcomes, "values that change nothing are taken"
    refused = outcomes - {"loaded"}
    assert len(refused) > 5
    assert all(message.startswith(str(huggingface)) for message in refused)


def parse_language_model(text: str) -> None:
    experiment = ExperimentConfig(Path("state_dict.bin"), text)
    audiocraft.check_language_model(experiment)
    config = audiocraft.musicgen_config(experiment, 24)
    build(Path("state_dict.bin"), lambda: MusicGen(config))


def parse_codec(text: str) -> None:
    config = audiocraft.encodec_config(ExperimentConfig(Path("state_dict.bin"), text))
    build(Path("state_dict.bin"), lambda: Encodec(config))


@pytest.mark.parametrize(
    ("config", "parse"),
    [
        (experiment_config(MONO), parse_language_model),
        (experiment_config(MELODY), parse_language_model),
        (codec_experiment_config(MONO), parse_codec),
    ],
    ids=["language model", "melody", "codec"],
)
def test_every_value_of_an_experiment_configuration(
    config: dict[str, Any], parse: Callable[[str], None]
) -> None:
    refused = []
    draw = random.Random(1)
    parse(yaml.safe_dump(config))
    for path in leaves(config):
        for value in draw.sample([*VALUES, "${sample_rate}", "${none}"], 6):
            try:
                parse(yaml.safe_dump(put(config, path, value)))
            except CheckpointError as error:
                refused.append(error.message)
    assert len(refused) > 80
    assert all(message.startswith("state_dict.bin: ") for message in refused)


def overwrite(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def damaged(content: bytes, draw: random.Random) -> Iterator[bytes]:
    """Cut off, emptied, replaced, and with some bytes changed near the beginning or anywhere."""
    for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
        yield content[:length]
    yield from (b"{}", b"[]", b"null", b"\x00" * 64, content + b"\x00" * 9, content[1:])
    for reach in (16, 300, len(content)) * 8:
        changed = bytearray(content)
        for _ in range(draw.choice((1, 3, 20))):
            changed[draw.randrange(min(reach, len(content)))] = draw.randrange(256)
        yield bytes(changed)


HUGGINGFACE_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
EXPORT_FILES = ["state_dict.bin", "compression_state_dict.bin"]


@pytest.mark.parametrize("name", HUGGINGFACE_FILES)
def test_damaged_files_of_a_huggingface_folder(huggingface: Path, name: str) -> None:
    check_damages(huggingface, name)


@pytest.mark.parametrize("name", EXPORT_FILES)
def test_damaged_files_of_an_export(export: Path, name: str) -> None:
    check_damages(export, name)


def check_damages(folder: Path, name: str) -> None:
    file = folder / name
    content = file.read_bytes()
    outcomes = []
    for changed in damaged(content, random.Random(name)):
        overwrite(file, changed)
        outcomes.append(outcome(folder))
    file.unlink()
    outcomes.append(outcome(folder))
    file.symlink_to(folder / "nothing")
    outcomes.append(outcome(folder))
    file.unlink()
    file.mkdir()
    outcomes.append(outcome(folder))
    assert sum(one != "loaded" for one in outcomes) > 5


def headers(header: dict[str, Any], draw: random.Random) -> Iterator[str]:
    """Headers of a safetensors file with odd types, shapes, offsets, names and doubles."""
    names = [name for name in header if name != "__metadata__"]
    for _ in range(12):
        name = draw.choice(names)
        entry = header[name]
        for key in entry:
            for value in draw.sample([*VALUES, "F16", "I8", "BF16", "F64", [0, 1], [10**15, 4]], 3):
                yield json.dumps(put(header, (name, key), value))
        yield json.dumps({**header, name: None})
        yield json.dumps({**header, "a new name": entry})
        yield json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(entry)}}}"
        yield json.dumps({key: value for key, value in header.items() if key != name})


def test_odd_headers_of_safetensors(huggingface: Path) -> None:
    file = huggingface / "model.safetensors"
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    outcomes = []
    for text in headers(header, random.Random(1)):
        encoded = text.encode()
        overwrite(file, struct.pack("<Q", len(encoded)) + encoded + content[8 + size :])
        outcomes.append(outcome(huggingface))
    assert sum(one != "loaded" for one in outcomes) > 80


def test_a_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds neither config.json .* nor state_dict.bin"):
        load_checkpoint(str(tmp_path))
    (tmp_path / "README.md").touch()
    with pytest.raises(CheckpointError, match="Name the folder with the model's files"):
        load_checkpoint(str(tmp_path))


def test_a_folder_that_vanishes_while_it_is_read(huggingface: Path) -> None:
    shutil.rmtree(huggingface)
    with pytest.raises(CheckpointError, match="neither a folder nor the id of a hub repository"):
        load_checkpoint(str(huggingface))
