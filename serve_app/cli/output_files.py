"""The files that `musicgen generate` writes."""

import sys
from pathlib import Path

import typer

from serve_app.audio.file_format import format_of_suffix
from serve_app.cli.console import fail


def output_files(output: Path, n: int) -> list[Path]:
    """Name the files of `n` tracks: `output`, or `track-1.wav`, `track-2.wav`, ..."""
    if n == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, n + 1)]


def manifest_file(track: Path) -> Path | None:
    """Name the file of a track's detached manifest; None: the track's format holds its own."""
    spec = format_of_suffix(track.suffix)
    if spec is None or spec.holds_manifest:
        return None
    return track.with_suffix(".c2pa")


def check_files(files: list[Path], *, force: bool) -> None:
    """Exit where a file cannot be written, or exists and must not be overwritten.

    The files of detached manifests count, too. Without `force`, ask on a terminal; elsewhere refuse.
    """
    manifests = [manifest for file in files if (manifest := manifest_file(file)) is not None]
    written = files + manifests
    _check_names(written)
    _check_overwriting(written, force)
    for file in written:
        _check_writable(file)


def _check_names(files: list[Path]) -> None:
    folder = files[0].parent
    if not folder.is_dir():
        fail(f"{folder} is not a folder", code=2)
    if folders := [str(file) for file in files if file.is_dir()]:
        fail(f"{', '.join(folders)} is a folder: name a file", code=2)


def _check_overwriting(files: list[Path], force: bool) -> None:
    existing = [str(file) for file in files if file.exists()]
    if not existing or force:
        return
    names = ", ".join(existing)
    exist = f"{names} exists" if len(existing) == 1 else f"{names} exist"
    if not _is_on_a_terminal():
        fail(f"{exist}. Add --force to overwrite, or name another file with --output.", code=2)
    if not typer.confirm(f"{exist}. Overwrite?", err=True):
        fail("Nothing was made. Name another file with --output.", code=2)


def _check_writable(file: Path) -> None:
    """Open the file, as for the track later, and leave everything as it was.

    A pipe or a device is not opened: its other end would notice.
    """
    exists = file.exists()
    if exists and not file.is_file():
        return
    try:
        with file.open("ab"):
            pass
        if not exists:
            file.resolve().unlink()  # the file that a link names, not the link
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}", code=2)


def _is_on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
