"""Demucs' files: the stems equal AudioCraft's; other files are refused, and no class of theirs is called."""

import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.checkpoints.stems import load_separator
from serve_app.config.app import DEMUCS, EngineConfig
from serve_app.errors import CheckpointError, ConfigError
from serve_app.models.chroma import PUBLISHED
from serve_app.models.stems import StemSeparator
from tests.architectures import put_in_cache
from tests.demucs_files import write_htdemucs
from tests.untraced import untraced

RATE = 32_000


@pytest.fixture(scope="module")
def takes_melody(nano: Checkpoint) -> Checkpoint:
    """What is loaded for a model with the codec of nano that takes a melody."""
    config = SimpleNamespace(melody=PUBLISHED)
    musicgen = SimpleNamespace(config=config)
    return cast(Checkpoint, SimpleNamespace(musicgen=musicgen, codec=nano.codec))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_htdemucs(tmp_path_factory.mktemp("demucs") / "0a1b2c3d.safetensors")


@pytest.fixture(scope="module")
def separator(takes_melody: Checkpoint, file: Path) -> StemSeparator:
    loaded = load_separator("demucs", str(file), takes_melody)
    assert loaded is not None
    return loaded


@untraced
def audiocrafts(file: Path, samples: Tensor) -> Tensor:
    """AudioCraft's stems of a melody [channels, n], without its random shifts."""
    from audiocraft.modules.conditioners import ChromaStemConditioner
    from demucs.apply import apply_model
    from demucs.hf import load_safetensors_model

    model = load_safetensors_model(file).eval()
    with mock.patch("demucs.pretrained.get_model", return_value=model):
        conditioner = ChromaStemConditioner(8, RATE, 12, 14, duration=1.0)
    wav = samples.mean(dim=0, keepdim=True)[None]  # as ConditioningProvider collates melodies
    with mock.patch("demucs.apply.apply_model", partial(apply_model, shifts=0)):
        return conditioner._get_stemmed_wav(wav, RATE)[0, 0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("channels", "length"), [(1, 20_000), (2, 41_111)])
def test_the_stems_equal_audiocrafts(
    file: Path, separator: StemSeparator, channels: int, length: int
) -> None:
    samples = torch.rand(channels, length) - 0.5
    expected = audiocrafts(file, samples)[:length]
    made = separator.separate(samples, RATE)
    assert made.shape == (length,)
    torch.testing.assert_close(made[: len(expected)], expected, rtol=1e-4, atol=1e-6)
    assert made.abs().max() > 1e-5
    mix = samples.mean(dim=0)
    assert (made - mix).abs().max() > 0.1 * mix.abs().max(), "it is not the mix"
    assert torch.equal(separator.separate(samples, RATE), made), "no random shifts"


@pytest.mark.parametrize("length", [1, 100])
def test_a_melody_of_a_few_samples_is_separated(separator: StemSeparator, length: int) -> None:
    made = separator.separate(torch.rand(1, length), RATE)
    assert made.shape == (length,)
    assert made.isfinite().all()


def test_silence_has_silent_stems(separator: StemSeparator) -> None:
    assert not separator.separate(torch.zeros(2, 3000), RATE).any()


def test_none_is_no_separator(takes_melody: Checkpoint) -> None:
    assert load_separator("none", "no such file", takes_melody) is None


def test_a_folder_with_one_file_is_loaded(takes_melody: Checkpoint, file: Path) -> None:
    assert load_separator("demucs", str(file.parent), takes_melody) is not None


def test_a_repository_of_the_hub_is_loaded(
    takes_melody: Checkpoint, file: Path, hub_cache: Path
) -> None:
    name = "955717e8.safetensors"
    put_in_cache(hub_cache, DEMUCS, lambda folder: shutil.copy(file, folder / name))
    assert load_separator("demucs", EngineConfig().melody_stems_source, takes_melody) is not None


def test_a_folder_without_or_with_several_files_is_refused(
    takes_melody: Checkpoint, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="must hold one file of safetensors, and holds none"):
        load_separator("demucs", str(tmp_path), takes_melody)
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=r"holds a.safetensors, b.safetensors"):
        load_separator("demucs", str(tmp_path), takes_melody)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"klass": "os.system", "args": '["exit"]', "kwargs": "{}"}, "is of the class 'os.system'"),
        (None, "is of the class None"),
        ({"klass": "demucs.htdemucs.HTDemucs", "structure": "{}"}, "quantized weights"),
        ({"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": "["}, "not a readable file"),
        (
            {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": "{}"},
            "describes no possible",
        ),
    ],
)
def test_other_files_are_refused(
    takes_melody: Checkpoint,
    file: Path,
    tmp_path: Path,
    metadata: dict[str, str] | None,
    message: str,
) -> None:
    other = tmp_path / "other.safetensors"
    save_file(load_file(file), other, metadata)
    with pytest.raises(CheckpointError, match=message):
        load_separator("demucs", str(other), takes_melody)


def test_a_model_without_the_stems_is_refused(takes_melody: Checkpoint, tmp_path: Path) -> None:
    sources = ["drums", "bass", "other", "piano"]
    file = write_htdemucs(tmp_path / "a.safetensors", sources=sources)
    with pytest.raises(
        CheckpointError, match="separates drums, bass, other, piano, but not vocals"
    ):
        load_separator("demucs", str(file), takes_melody)


def test_a_missing_demucs_is_named(
    takes_melody: Checkpoint, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "demucs.htdemucs", None)
    with pytest.raises(ConfigError, match=r"melody_stems is demucs.*--extra demucs"):
        load_separator("demucs", str(file), takes_melody)


def test_a_model_without_melody_needs_no_stems(nano: Checkpoint, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"melody_stems is demucs, but the model takes no melody"):
        load_separator("demucs", str(file), nano)
