"""Files of a checkpoint before a start: what is missing, cut off or out of reach, by name."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError

from serve_app.checkpoints.hub import resolve
from serve_app.checkpoints.inventory import check_folder, check_source
from serve_app.errors import CheckpointError
from tests.architectures import put_in_cache
from tests.conftest import EMBEDDED
from tests.sources import ROOT

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
NESTED = b"[" * 100_000  # deeper than any parser of JSON follows
CUT_OFF = "The file is cut off or damaged: copy or download it again."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded model."""
    copy = tmp_path / "model"
    shutil.copytree(resolve(EMBEDDED), copy)
    return copy


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The files of an AudioCraft export, one in each of PyTorch's formats."""
    torch.save({"best_state": {}}, tmp_path / "state_dict.bin")
    codec = tmp_path / "compression_state_dict.bin"
    torch.save({"pretrained": "x/y"}, codec, _use_new_zipfile_serialization=False)
    return tmp_path


def fault(source: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_source(str(source))
    return caught.value.message


def test_whole_checkpoints_pass(folder: Path, export: Path) -> None:
    for source in (EMBEDDED, str(folder), str(export)):
        assert check_source(source)


def test_it_imports_no_torch() -> None:
    code = (
        "import sys; from serve_app.checkpoints.inventory import check_source;"
        f"check_source({EMBEDDED!r}); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == "False\n"


def test_weights_that_are_cut_off_are_told_by_their_header(folder: Path) -> None:
    file = folder / WEIGHTS
    whole = file.stat().st_size
    file.write_bytes(file.read_bytes()[:100_000])
    assert fault(folder) == (
        f"{file}: has 100000 bytes, but its header tells of {whole}. {CUT_OFF}"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4,
        b"\xff" * 64,
        (3).to_bytes(8, "little") + b'{"a',
        b"\x02" + b"\x00" * 7 + b"[]",
        len(NESTED).to_bytes(8, "little") + NESTED,
    ],
    ids=["empty", "short", "long header", "half header", "list", "nested"],
)
def test_weights_without_a_header_are_refused(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    assert fault(folder) == f"{folder / WEIGHTS}: not a readable safetensors file. {CUT_OFF}"


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert (
        fault(folder)
        == f"{folder / 'one.safetensors'}: the file is missing. Copy or download it again."
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not a readable index (JSONDecodeError"),
        ("{}", "not a readable index (KeyError"),
        ("[]", "not a readable index (TypeError"),
        (NESTED.decode(), "not a readable index (RecursionError"),
        ('{"weight_map": 1}', "not a readable index (AttributeError"),
        ('{"weight_map": {}}', "its weight_map is empty"),
        ('{"weight_map": {"a": 1}}', "names the file 1, which is no safetensors file"),
    ],
    ids=lambda value: value[:40],
)
@pytest.mark.parametrize("has_single", [True, False])
def test_an_index_that_names_no_shards_is_refused(
    folder: Path, content: str, said: str, has_single: bool
) -> None:
    if not has_single:
        (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(content)
    assert fault(folder).startswith(f"{folder / INDEX}: {said}")


def test_a_missing_configuration_is_named(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert (
        fault(folder)
        == f"{folder / 'config.json'}: the file is missing. Copy it beside the weights."
    )


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", NESTED])
def test_a_configuration_that_is_no_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert fault(folder).startswith(f"{folder / 'config.json'}: not readable JSON (")


@pytest.mark.parametrize("content", ["[]", "{}", "1"])
def test_a_configuration_without_a_model_type_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "has no 'model_type'" in fault(folder)


def test_an_export_without_its_codec_is_refused(export: Path) -> None:
    (export / "compression_state_dict.bin").unlink()
    assert fault(export) == (
        f"{export / 'compression_state_dict.bin'}: the file is missing. Export the model again with "
        "audiocraft.utils.export; for the codec alone, set the model's codec_source."
    )


def test_an_export_needs_no_codec_if_that_has_a_source_of_its_own(export: Path) -> None:
    (export / "compression_state_dict.bin").unlink()
    check_source(str(export), needs_codec=False)
    with pytest.raises(CheckpointError, match="set the model's codec_source"):
        check_source(str(export))


def test_a_revision_is_looked_for(hub_cache: Path) -> None:
    put_in_cache(
        hub_cache, "someone/inventoried", lambda path: (path / "model.safetensors").write_text("{}")
    )
    check_source(f"someone/inventoried@{'0' * 40}")
    with pytest.raises(CheckpointError, match="'someone/inventoried' at revision 'v9' is not in"):
        check_source("someone/inventoried@v9")


def test_an_adapter_beside_its_base_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"adapter_config.json: .* LoRA adapter"):
        check_source(str(folder))


def test_an_export_that_is_cut_off_is_refused(export: Path) -> None:
    file = export / "state_dict.bin"
    file.write_bytes(file.read_bytes()[:-100])
    assert fault(export) == f"{file}: not a readable PyTorch file. {CUT_OFF}"


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"has neither model\.safetensors nor state_dict\.bin"
    ):
        check_folder(tmp_path)


@pytest.mark.parametrize(
    "source", ["/none/such", "./none", "~/none", "a/b/c", "embedded:huge", "a\0b"]
)
def test_a_source_that_is_nothing_is_refused(source: str) -> None:
    assert f"'{source}' is " in fault(source)


@pytest.mark.parametrize("source", ["~no-such-user/model", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(source: str) -> None:
    assert ": not a usable path (" in fault(source)


def test_offline_an_absent_repository_is_refused() -> None:
    assert fault("facebook/musicgen-small") == (
        "The hub repository 'facebook/musicgen-small' is not in the hub's cache, and HF_HUB_OFFLINE is "
        "set. Run `musicgen fetch` where there is a network, or name a local folder instead."
    )


def test_a_cached_repository_needs_no_network(hub_cache: Path) -> None:
    snapshot = hub_cache / "models--a--cached" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_text("{}")
    (hub_cache / "models--a--cached" / "refs").mkdir()
    (hub_cache / "models--a--cached" / "refs" / "main").write_text("1")
    assert check_source("a/cached")


def test_a_repository_without_its_weights_in_the_cache_is_asked_for(hub_cache: Path) -> None:
    put_in_cache(hub_cache, "a/part", lambda path: (path / "config.json").write_text("{}"))
    assert "'a/part' is not in the hub's cache" in fault("a/part")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OSError("no route"), "the hub cannot be reached (OSError)"),
        (404, "is refused by the hub with status 404. Check the name; set HF_TOKEN"),
    ],
)
def test_a_hub_that_does_not_give_it_is_named(
    monkeypatch: pytest.MonkeyPatch, answer: Exception | int, reason: str
) -> None:
    def model_info(*_: object, revision: str | None, timeout: float) -> None:
        assert revision is None
        assert timeout == 5.0
        if isinstance(answer, Exception):
            raise answer
        response = type("Response", (), {"status_code": answer, "headers": {}, "request": None})()
        raise HfHubHTTPError("refused", response=response)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    assert reason in fault("a/b")


def test_a_hub_that_answers_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: None)
    assert not check_source("a/b")
