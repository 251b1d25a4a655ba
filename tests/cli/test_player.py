"""Playing a file with the first installed program."""

import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from serve_app.cli.player import play_file

FILE = Path("track.wav")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that were run."""
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    return commands


def install(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)


def test_the_first_installed_player_plays_the_file(
    played: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, "paplay", "ffplay", "mpv")
    play_file(FILE)
    install(monkeypatch, "paplay")
    play_file(FILE)
    assert played == [
        ["ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "track.wav"],
        ["paplay", "track.wav"],
    ]


def test_a_missing_player_is_an_error_with_the_name_of_the_file(
    played: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch)
    with pytest.raises(typer.Exit) as ended:
        play_file(FILE)
    assert ended.value.exit_code == 1
    assert "or open track.wav yourself" in capsys.readouterr().err
    assert played == []
