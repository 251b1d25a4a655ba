"""Existing files are overwritten only by --force, or after a yes on a terminal."""

import os
from pathlib import Path

import pytest
import typer

from serve_app.cli import output_files as cli_files
from serve_app.cli.output_files import check_files, output_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.wav"
    file.write_text("mine")
    return file


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_files, "_is_on_a_terminal", lambda: True)


def test_names() -> None:
    assert output_files(Path("x/a.wav"), 1) == [Path("x/a.wav")]
    assert output_files(Path("x/a.wav"), 2) == [Path("x/a-1.wav"), Path("x/a-2.wav")]


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("says_yes", [True, False])
def test_a_terminal_is_asked(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], says_yes: bool
) -> None:
    asked: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        assert err
        asked.append(question)
        return says_yes

    monkeypatch.setattr(typer, "confirm", confirm)
    if says_yes:
        check_files([file], force=False)
    else:
        with pytest.raises(typer.Exit) as ended:
            check_files([file], force=False)
        assert ended.value.exit_code == 2
        assert "Nothing was made" in capsys.readouterr().err
    assert asked == [f"{file} exists. Overwrite?"]


def test_a_script_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        check_files([file, file], force=False)
    assert "exist. Add --force to overwrite" in " ".join(capsys.readouterr().err.split())
    check_files([file], force=True)
    check_files([file.with_name("b.wav")], force=False)


def test_a_folder_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        check_files([tmp_path], force=True)
    assert "is a folder: name a file" in " ".join(capsys.readouterr().err.split())


def test_the_check_leaves_everything_as_it_was(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.wav"
    link.symlink_to(tmp_path / "new.wav")
    check_files([file, link, tmp_path / "b.wav"], force=True)
    assert file.read_text() == "mine"
    assert link.is_symlink()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.wav", "link.wav"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """It would wait for a reader."""
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    check_files([pipe], force=True)
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["b.ogg", "b.opus", "b.pcm"])
def test_the_manifest_beside_a_file_is_not_overwritten_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "b.c2pa").write_text("mine")
    with pytest.raises(typer.Exit) as ended:
        check_files([tmp_path / name], force=False)
    assert ended.value.exit_code == 2
    assert "b.c2pa exists. Add --force" in " ".join(capsys.readouterr().err.split())
    check_files([tmp_path / name], force=True)
    check_files([tmp_path / "b.wav"], force=False)
    assert (tmp_path / "b.c2pa").read_text() == "mine"
