"""`musicgen fetch`, kept offline: cached weights are found, others are an error within seconds."""

import time
from pathlib import Path

import pytest

from tests.architectures import put_in_cache
from tests.cli.conftest import Run


def write_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def test_cached_models_are_found(run: Run, hub_cache: Path) -> None:
    put_in_cache(hub_cache, "facebook/musicgen-tiny", write_weights)
    result = run("fetch", "tiny", "embedded:musicgen-nano", "nano")
    assert result.exit_code == 0, result.output
    assert "tiny: " in result.stdout
    assert result.stdout.count("musicgen-nano (0.0") == 2


def test_a_folder_is_found(run: Run, tmp_path: Path) -> None:
    result = run("fetch", tmp_path)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}: {tmp_path} (0.00 GB)\n"


def test_a_missing_model_is_an_error(run: Run) -> None:
    result = run("fetch", "huge")
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "facebook/musicgen-huge is not in the cache (HF_HOME). Check the network" in message
    assert "`musicgen serve nano` needs no download" in message


def test_without_a_network_it_fails_within_seconds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    started_at = time.monotonic()
    result = run("fetch", "huge")
    assert time.monotonic() - started_at < 8
    assert result.exit_code == 1
    assert "The hub (http://127.0.0.1:1) cannot be reached" in " ".join(result.stderr.split())


def test_an_impossible_name_is_an_error(run: Run) -> None:
    result = run("fetch", "a/b/c")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
