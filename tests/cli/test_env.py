"""`musicgen env` prints what `serve run` needs."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_shell_takes_its_variables(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    printed = run("env")
    assert printed.exit_code == 0
    shell = subprocess.run(
        ["sh", "-c", f"{printed.stdout} env"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    variables = dict(line.split("=", 1) for line in shell.stdout.splitlines())
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert variables["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].startswith("serve_app.")
    assert "RAY_ADDRESS" not in variables, "the shell's own"
    token = (tmp_path / ".ray" / "auth_token").read_text()
    assert token not in printed.stdout


def test_a_token_that_cannot_be_saved_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "HOME"):
        monkeypatch.delenv(name, raising=False)
    result = run("env")
    assert result.exit_code == 1
    assert "Set RAY_AUTH_TOKEN" in result.stderr
    assert result.stdout == ""
