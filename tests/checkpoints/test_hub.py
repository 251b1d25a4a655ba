"""Location of checkpoints: the hub's cache, embedded models, and errors for unknown sources."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.hub import is_hub_id, resolve
from serve_app.checkpoints.weight_files import has_safetensors
from serve_app.errors import CheckpointError
from tests.architectures import MONO, put_in_cache, write_audiocraft, write_huggingface
from tests.checkpoints.test_checkpoint import same_weights
from tests.conftest import EMBEDDED


def test_hub_id_is_found_in_the_cache(hub_cache: Path, huggingface: Path) -> None:
    put_in_cache(hub_cache, "someone/tiny-musicgen", lambda path: write_huggingface(MONO, path))
    checkpoint = load_checkpoint("someone/tiny-musicgen")
    assert same_weights(checkpoint.musicgen, load_checkpoint(str(huggingface)).musicgen)


def test_audiocraft_export_is_found_in_the_cache(hub_cache: Path, export: Path) -> None:
    put_in_cache(
        hub_cache, "someone/tiny-export", lambda path: write_audiocraft(MONO, path, hub_cache)
    )
    assert same_weights(
        load_checkpoint("someone/tiny-export").musicgen, load_checkpoint(str(export)).musicgen
    )


def test_a_folder_and_an_embedded_model_need_no_hub(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == tmp_path
    assert has_safetensors(resolve(EMBEDDED))
    assert not has_safetensors(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("facebook/encodec_32khz", True),
        ("facebook/encodec_32khz@0a1b2c3", True),
        ("facebook/encodec_32khz@", False),
        ("facebook/encodec_32khz@../x", False),
        ("./encodec", False),
        ("../encodec", False),
        ("t5-base", False),
        ("/etc/passwd", False),
        ("a/b/c", False),
    ],
)
def test_a_hub_id_has_an_owner_and_a_name(name: str, expected: bool) -> None:
    assert is_hub_id(name) is expected


def test_a_revision_pins_a_commit_or_a_tag(hub_cache: Path, tmp_path: Path) -> None:
    put_in_cache(hub_cache, "someone/pinned", lambda path: write_huggingface(MONO, path))
    repository = hub_cache / "models--someone--pinned"
    old = repository / "snapshots" / ("1" * 40)
    shutil.copytree(repository / "snapshots" / ("0" * 40), old)
    (repository / "refs" / "v1").write_text("1" * 40)
    assert resolve("someone/pinned") == repository / "snapshots" / ("0" * 40)
    assert resolve(f"someone/pinned@{'1' * 40}") == old
    assert resolve("someone/pinned@v1") == old
    with pytest.raises(
        CheckpointError, match="'someone/pinned' at revision 'v2' could not be fetched"
    ):
        resolve("someone/pinned@v2")
    folder = tmp_path / "someone" / "pinned@v2"
    folder.mkdir(parents=True)
    assert resolve(str(folder)) == folder, "a folder's name may have an @"


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"]
)
def test_a_lora_adapter_beside_its_base_is_refused(huggingface: Path, name: str) -> None:
    (huggingface / name).write_text("{}")
    with pytest.raises(
        CheckpointError, match=rf"{name}: .* LoRA adapter, .* ignored.* name that in adapter_source"
    ):
        load_checkpoint(str(huggingface))


def test_an_adapter_beside_another_part_is_refused(export: Path, tmp_path: Path) -> None:
    codec = tmp_path / "codec"
    codec.mkdir()
    (codec / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="codec: holds a LoRA adapter, and no model"):
        load_checkpoint(str(export), codec_source=str(codec))


@pytest.fixture
def readable_by_root_alone() -> Iterator[Path]:
    """Folder that its user may see, but not look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        inner = Path(folder) / "model"
        inner.mkdir(mode=0o700 if os.geteuid() == 0 else 0o000)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield inner
        finally:
            os.seteuid(user)
            inner.chmod(0o700)


def test_a_folder_without_permission_is_named(readable_by_root_alone: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model.*: cannot be read .*Check the permissions"):
        load_checkpoint(str(readable_by_root_alone))


def test_a_file_in_place_of_a_folder_is_named(huggingface: Path) -> None:
    file = huggingface / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"model.safetensors: is a file, not a folder"):
        load_checkpoint(str(file))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("./no/such/folder", "'./no/such/folder' is neither a folder nor"),
        ("/no/such/folder", "'/no/such/folder' is neither a folder nor"),
        ("~no-such-user/model", "~no-such-user/model: not a usable path"),
        ("x" * 5000, "not a usable path .*too long"),
        ("a\0b", "is neither a folder nor"),
        ("embedded:../assets/musicgen-nano", "is not a model inside this package"),
        ("embedded:", "is not a model inside this package"),
        ("someone/x@../../y", "is neither a folder nor"),
        ("nobody/nothing", "Hub repository 'nobody/nothing' could not be fetched .*HF_TOKEN"),
        ("no such place!", "'no such place!' is neither a folder nor the id of a hub repository"),
        (
            "embedded:musicgen-huge",
            "'embedded:musicgen-huge' is not .* inside this package. Use embedded:musicgen-nano",
        ),
    ],
)
def test_unknown_sources_say_what_to_do(source: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(source)
