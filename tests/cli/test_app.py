"""The command itself: help, version, completion, and no tracebacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app import __version__, cli
from serve_app.cli import models
from tests.cli.conftest import Run

COMMANDS = ("generate", "models", "serve", "fetch", "doctor")


def test_without_arguments_it_prints_help(run: Run) -> None:
    result = run()
    assert all(name in result.output for name in (*COMMANDS, "--version", "--install-completion"))


def test_it_tells_its_version(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"musicgen {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_completion(shell: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("musicgen"), "--show-completion", shell],
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "_MUSICGEN_COMPLETE" in done.stdout


def test_completion_completes_commands() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("musicgen")],
        env=os.environ | {"_MUSICGEN_COMPLETE": "complete_bash", "COMP_WORDS": "musicgen ", "COMP_CWORD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert set(done.stdout.split()) >= set(COMMANDS)


def broken(*_: object) -> None:
    raise RuntimeError("It is [broken].")


def test_an_unexpected_error_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "connected", broken)
    result = run("models")
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert message == "error RuntimeError: It is [broken]. (set MUSICGEN_DEBUG=1 to see where)"


def test_a_traceback_may_be_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "connected", broken)
    monkeypatch.setenv("MUSICGEN_DEBUG", "1")
    assert isinstance(run("models").exception, RuntimeError)


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"'{sys.executable}' -m serve_app.cli.app generate --help | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True,
        cwd=Path(cli.__file__).parents[2],
    )  # fmt: skip
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["serve"], ["edge", "nano"], ["doctor"]])
@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999", "a"])
def test_a_port_that_no_machine_has_is_a_wrong_option(
    run: Run, command: list[str], port: str
) -> None:
    result = run(*command, "--port", port)
    assert result.exit_code == 2
    assert "--port" in result.stderr
