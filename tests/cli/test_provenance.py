"""`musicgen provenance init` makes a pair with which the service signs."""

from pathlib import Path
from typing import get_args

import pytest

from serve_app.config.provenance import Algorithm, ProvenanceConfig
from serve_app.gateway.marking import Marking
from serve_app.gateway.observer import LogObserver
from serve_app.provenance import library
from tests.cli.conftest import Run

FILES = ("certificate.pem", "private_key.pem", "root.pem")


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_the_service_signs_with_the_pair(run: Run, tmp_path: Path, algorithm: Algorithm) -> None:
    result = run("provenance", "init", tmp_path / "new", "--algorithm", algorithm)
    assert result.exit_code == 0, result.output
    config = ProvenanceConfig(
        certificate_file=str(tmp_path / "new" / "certificate.pem"),
        private_key_file=str(tmp_path / "new" / "private_key.pem"),
        algorithm=algorithm,
        required=True,
    )
    assert Marking.of(config, LogObserver(), {}).signer is not None
    for name in FILES:
        assert (tmp_path / "new" / name).stat().st_mode & 0o777 == 0o600


def test_it_says_that_validators_do_not_trust_the_pair(run: Run, tmp_path: Path) -> None:
    result = run("provenance", "init", tmp_path)
    assert "Validators do NOT trust" in result.stdout
    assert f"certificate_file: {tmp_path}/certificate.pem" in result.stdout
    assert "PRIVATE KEY" not in result.output


@pytest.mark.parametrize("existing", FILES)
def test_it_overwrites_nothing(run: Run, tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    result = run("provenance", "init", tmp_path)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"
    assert run("provenance", "init", tmp_path, "--force").exit_code == 0
    assert (tmp_path / existing).read_text() != "mine"


def test_the_extra_is_missing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_spec", lambda _: None)
    result = run("provenance", "init", tmp_path)
    assert result.exit_code == 1
    assert "uv sync --extra c2pa" in result.stderr
