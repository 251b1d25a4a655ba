"""Keys and Ray's token are read as the service reads them, and never shown."""

from pathlib import Path

import pytest

from serve_app.config.api import AccessConfig
from serve_app.config.provenance import ProvenanceConfig
from serve_app.doctor import Level
from serve_app.doctor.access import check_keys, check_signing, check_token
from serve_app.provenance.self_signed import make_pair
from tests.credentials import expired_pair, stored

KEY = "key-of-the-doctor-0123456789"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MUSICGEN_API_KEYS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_keys_of_the_environment_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"a:{KEY}a,b:{KEY}b")
    found = check_keys(AccessConfig(require_keys=True))
    assert (found.level, found.state) == (Level.OK, "2 in MUSICGEN_API_KEYS")


def test_keys_of_a_file_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"a:{KEY}\n")
    found = check_keys(AccessConfig(keys_file=str(file)))
    assert (found.level, found.state) == (Level.OK, f"1 in {file}")


def test_no_keys_are_a_note_or_a_problem() -> None:
    assert check_keys(AccessConfig()).level is Level.NOTE
    found = check_keys(AccessConfig(require_keys=True))
    assert found.level is Level.PROBLEM
    assert "API keys are required" in found.state
    assert found.advice.startswith("For example: export MUSICGEN_API_KEYS=")


@pytest.mark.parametrize("content", [None, "", "nonsense"])
def test_a_keys_file_that_cannot_be_used_is_a_problem(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    assert check_keys(AccessConfig(keys_file=str(file))).level is Level.PROBLEM


def test_a_missing_token_is_made_at_the_start(tmp_path: Path) -> None:
    found = check_token()
    assert found.level is Level.OK
    assert "none yet" in found.state
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_found_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", KEY)
    found = check_token()
    assert (found.level, found.state) == (Level.OK, "found")


def test_an_empty_token_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("")
    found = check_token()
    assert found.level is Level.PROBLEM
    assert "is empty. Delete it" in found.advice


def test_ray_without_its_token_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = check_token()
    assert found.level is Level.PROBLEM
    assert found.advice == "export RAY_AUTH_MODE=token"


def test_signing_is_off_without_a_certificate() -> None:
    found = check_signing(ProvenanceConfig())
    assert (found.level, found.state[:3]) == (Level.OK, "off")


def test_a_certificate_that_signs(tmp_path: Path) -> None:
    found = check_signing(stored(tmp_path))
    assert (found.level, found.state) == (Level.OK, "es256, valid for 365 days")


def test_a_certificate_that_expires_soon_is_a_note(tmp_path: Path) -> None:
    found = check_signing(stored(tmp_path, make_pair("es256", "tests", 20)))
    assert (found.level, found.state) == (Level.NOTE, "es256, valid for 20 days")
    assert found.advice.startswith("Renew the certificate")


def test_a_certificate_that_cannot_sign_is_a_problem(tmp_path: Path) -> None:
    found = check_signing(stored(tmp_path, expired_pair()))
    assert found.level is Level.PROBLEM
    assert "expired" in found.state
    assert check_signing(ProvenanceConfig(required=True)).level is Level.PROBLEM


def test_emptied_files_of_the_signer_are_a_problem(tmp_path: Path) -> None:
    config = stored(tmp_path)
    (tmp_path / "certificate.pem").write_bytes(b"")
    (tmp_path / "private_key.pem").write_bytes(b"")
    found = check_signing(config)
    assert found.level is Level.PROBLEM
    assert "certificate_file is empty" in found.state
