"""Taken ports are named with their owner; missing weights are a problem only where they are needed."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.checkpoints.hub import resolve
from serve_app.config.app import AppConfig
from serve_app.doctor import Level, network
from serve_app.doctor.network import check_ports, check_weights
from serve_app.machine import free_port
from tests.architectures import put_in_cache
from tests.sources import ROOT

NANO = "embedded:musicgen-nano"


def app(*sources: str) -> AppConfig:
    models = [
        {"model_loading_config": {"model_id": f"m{number}", "model_source": source}}
        for number, source in enumerate(sources)
    ]
    return AppConfig.model_validate({"models": models})


def changed(source: str, **loading: str) -> AppConfig:
    """The application of one model with these fields of its `model_loading_config`."""
    named = {"model_id": "m", "model_source": source, **loading}
    return AppConfig.model_validate({"models": [{"model_loading_config": named}]})


@pytest.fixture(autouse=True)
def _free_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_DASHBOARD_PORT", free_port())


def reach(monkeypatch: pytest.MonkeyPatch, is_reachable: bool) -> None:
    monkeypatch.setattr(network, "hub_is_reachable", lambda: is_reachable)


def test_free_ports() -> None:
    http = free_port()
    grpc = free_port()
    [found] = check_ports({"grpc_options": {"port": grpc}}, http)
    assert found.level is Level.OK
    assert found.state == f"{http} (HTTP), {grpc} (gRPC) free; Ray takes others that are free"


def test_a_taken_port_is_named_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [found] = check_ports({}, port)
    assert found.level is Level.PROBLEM
    assert found.state.startswith(f"{port} (HTTP) is taken by ")
    assert found.state.endswith(f"(process {os.getpid()})")
    assert "--port" in found.advice


def test_a_taken_dashboard_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(network, "_DASHBOARD_PORT", taken.getsockname()[1])
        found = list(check_ports({}, free_port()))
    assert [finding.level for finding in found] == [Level.OK, Level.NOTE]


def test_offline_is_a_note_where_the_weights_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, False)
    found = list(check_weights(app(NANO)))
    assert [finding.level for finding in found] == [Level.OK, Level.NOTE]


def test_offline_is_a_problem_where_weights_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, False)
    found = list(check_weights(app(NANO, "facebook/musicgen-none")))
    assert [finding.level for finding in found] == [Level.OK, Level.PROBLEM]
    assert (
        "'facebook/musicgen-none' is not in the hub's cache, and HF_HUB_OFFLINE" in found[1].state
    )


def test_missing_weights_are_fetched_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: None)
    [found] = check_weights(app("facebook/musicgen-none"))
    assert found.level is Level.OK
    assert found.state == "facebook/musicgen-none: not in the cache yet; the hub has it"


def cached_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def test_folders_and_the_cache_need_no_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub_cache: Path
) -> None:
    folder = shutil.copytree(resolve(NANO), tmp_path / "model")
    put_in_cache(hub_cache, "me/cached", cached_weights)
    reach(monkeypatch, False)
    first, second = check_weights(app("me/cached", f"me/cached@{'0' * 40}", str(folder)))
    assert first.state == f"me/cached, me/cached@{'0' * 40}, {folder}: here"
    assert second.level is Level.NOTE


@pytest.mark.parametrize("loading", [{"revision": "v2"}, {"codec_source": "me/pinned@v2"}])
def test_the_pinned_revision_is_looked_for(hub_cache: Path, loading: dict[str, str]) -> None:
    put_in_cache(hub_cache, "me/pinned", cached_weights)
    *_, found = check_weights(changed("me/pinned", **loading))
    assert found.level is Level.PROBLEM
    assert "'me/pinned' at revision 'v2' is not in the hub's cache" in found.state


@pytest.mark.parametrize("part", ["text_encoder_source", "codec_source"])
def test_the_parts_of_a_model_are_looked_at(part: str, tmp_path: Path) -> None:
    found = list(check_weights(changed(NANO, **{part: str(tmp_path)})))
    assert [finding.level for finding in found] == [Level.OK, Level.PROBLEM]
    assert found[1].state.startswith(f"{tmp_path}: has neither model.safetensors")


def test_the_adapters_of_a_model_are_looked_at(tmp_path: Path) -> None:
    found = list(check_weights(changed(NANO, adapter_source=str(tmp_path))))
    assert [finding.level for finding in found] == [Level.OK, Level.PROBLEM]
    assert found[1].state.startswith(f"{tmp_path / 'adapter_config.json'}: the file is missing")


def test_a_damaged_folder_is_a_problem(tmp_path: Path) -> None:
    folder = shutil.copytree(resolve(NANO), tmp_path / "model")
    (folder / "config.json").write_text("{")
    [found] = check_weights(app(str(folder)))
    assert found.level is Level.PROBLEM
    assert found.state.startswith(f"{folder / 'config.json'}: not readable JSON")
    assert "refuses to start" in found.advice


@pytest.mark.parametrize("source", ["a/b/c", "~no-such-user/model", "x" * 5000])
def test_a_source_that_is_no_id_is_missing(source: str) -> None:
    [found] = check_weights(app(source))
    assert found.level is Level.PROBLEM


def test_it_imports_no_torch() -> None:
    code = "import sys, serve_app.doctor; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == "False\n"


def test_weights_of_another_form_than_the_chosen_one_are_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(resolve(NANO), folder)
    [found, *_] = check_weights(changed(str(folder), checkpoint_form="transformers"))
    assert found.level is Level.OK
    [found, *_] = check_weights(changed(str(folder), checkpoint_form="audiocraft"))
    assert found.level is Level.PROBLEM
    assert "state_dict.bin: the file is missing, but checkpoint_form is 'audiocraft'" in found.state
