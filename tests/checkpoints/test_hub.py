"""Location of checkpoints: the hub's cache, embedded models, and errors for unknown sources."""

from pathlib import Path

import pytest

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.checkpoints.hub import has_safetensors, is_hub_id, resolve
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
        ("t5-base", False),
        ("/etc/passwd", False),
        ("a/b/c", False),
    ],
)
def test_a_hub_id_has_an_owner_and_a_name(name: str, expected: bool) -> None:
    assert is_hub_id(name) is expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
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
