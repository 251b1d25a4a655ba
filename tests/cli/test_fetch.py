"""`musicgen fetch`, kept offline: cached weights are found, others are an error."""

from pathlib import Path

from tests.architectures import put_in_cache
from tests.cli.conftest import Run


def test_cached_models_are_found(run: Run, hub_cache: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    put_in_cache(hub_cache, "facebook/musicgen-tiny", write)
    result = run("fetch", "tiny", "embedded:musicgen-nano")
    assert result.exit_code == 0
    assert "tiny: " in result.stdout
    assert "musicgen-nano (0.0" in result.stdout


def test_a_revision_is_fetched(run: Run, hub_cache: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    put_in_cache(hub_cache, "facebook/musicgen-pinned", write)
    result = run("fetch", f"pinned@{'0' * 40}")
    assert result.exit_code == 0
    assert "0" * 40 in result.stdout.replace("\n", "")
    result = run("fetch", f"pinned@{'1' * 40}")
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "'facebook/musicgen-pinned' at revision '1111" in message


def test_a_missing_model_is_an_error(run: Run) -> None:
    result = run("fetch", "huge")
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "Hub repository 'facebook/musicgen-huge' could not be fetched" in message
