"""Ray's token: found where Ray finds it, or created; and nothing in the repository turns it off."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.launch.error import LaunchError
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from serve_app.ray_token import RayToken, TokenError, find_or_create_token
from tests.conftest import CONFIGS

ROOT = CONFIGS.parent
RAY = str(Path(sys.executable).parent / "ray")


def token_file(home: Path, text: str) -> Path:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text(text)
    return file


def test_a_token_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        token = find_or_create_token({"HOME": str(tmp_path)})
    finally:
        os.umask(umask)
    file = tmp_path / ".ray" / "auth_token"
    assert (len(token.value), file.read_text()) == (64, token.value)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]
    assert token.environment == {"RAY_AUTH_MODE": "token"}, "Ray reads the file"
    assert find_or_create_token({"HOME": str(tmp_path)}) == token


def test_the_token_is_the_one_that_ray_would_find(tmp_path: Path) -> None:
    """Ray's own command, on each source in turn."""
    other = tmp_path / "other"
    other.write_text(" of-the-path \n")
    token_file(tmp_path, "of-the-home\n")
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    sources = [
        ({}, "of-the-home"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": ""}, "of-the-home"),
        ({"RAY_AUTH_TOKEN_PATH": str(other)}, "of-the-path"),
        (
            {"RAY_AUTH_TOKEN_PATH": str(other), "RAY_AUTH_TOKEN": " of-the-environment "},
            "of-the-environment",
        ),
    ]
    for variables, expected in sources:
        assert find_or_create_token(environment | variables).value == expected
        command = [RAY, "get-auth-token"]
        run = subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, check=True
        )
        assert run.stdout == expected


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_is_named_with_the_cure(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = token_file(tmp_path, text)
    with pytest.raises(
        TokenError, match=re.escape(f"{file} is empty. Delete it, and a new one is made.")
    ):
        find_or_create_token({"HOME": str(tmp_path)})
    with pytest.raises(
        TokenError, match=r"is empty\. Write a token into it, or unset RAY_AUTH_TOKEN_PATH"
    ):
        find_or_create_token({"HOME": "/nowhere", "RAY_AUTH_TOKEN_PATH": str(file)})
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        pytest.raises(LaunchError, match="is empty"),
        Service(CONFIGS / "nano.yaml", free_port(), ProgressLine()),
    ):
        pytest.fail("the service must not start")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TokenError, match=r"gone cannot be read .FileNotFoundError.\. Write a token into it"
    ):
        find_or_create_token({"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(tmp_path / "gone")})


def test_a_blank_variable_is_named() -> None:
    with pytest.raises(TokenError, match="RAY_AUTH_TOKEN is blank"):
        find_or_create_token({"HOME": "/nowhere", "RAY_AUTH_TOKEN": " "})


@pytest.mark.parametrize("home", ["", "/dev/null", "/nowhere"])
def test_without_a_home_folder_the_token_is_one_services_own(home: str) -> None:
    token = find_or_create_token({"HOME": home})
    assert token.environment == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token.value}
    assert token != find_or_create_token({"HOME": home})


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(RayToken("secret"))


def test_nothing_turns_the_token_off() -> None:
    """RAY_AUTH_MODE is `token` wherever it is set."""
    files = [ROOT / "README.md", ROOT / "Makefile"]
    files += [file for name in ("cluster", "configs", "serve_app", "tests", "tools", "benchmarks", "docs")
              for file in (ROOT / name).rglob("*") if file.suffix in {".py", ".md", ".yaml", ".json", ""}]  # fmt: skip
    values = {
        (file.name, value)
        for file in files
        if file.is_file()
        for value in re.findall(r"RAY_AUTH_MODE\"?[=:]\s*\"?(\w+)", file.read_text())
    }
    assert len(values) > 5
    assert {value for _, value in values} == {"token"}
