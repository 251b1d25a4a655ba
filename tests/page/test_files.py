"""The page's files: format, lint, and a module that runs without a browser."""

import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.api.routes.page import STATIC
from serve_app.audio.wav import WavHeader

pytestmark = pytest.mark.long

MOST_LINES = 250


def test_its_files_are_formatted_and_linted() -> None:
    deno = str(Path(sys.executable).parent / "deno")
    for command in (["fmt", "--check", "--line-width", "120"], ["lint"]):
        run = subprocess.run([deno, *command, STATIC], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_its_files_are_short() -> None:
    lines = {file.name: len(file.read_text().splitlines()) for file in STATIC.iterdir()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_a_manifest_behind_the_samples_is_no_sound(tmp_path: Path) -> None:
    """The page reads the samples of a signed file, and those of one that is still being made."""
    file = tmp_path / "a.wav"
    script = (
        f'import {{ read }} from "{STATIC.as_uri()}/wav.js";'
        f'console.log(read(Deno.readFileSync("{file}")).samples.length);'
    )
    deno = str(Path(sys.executable).parent / "deno")
    header = WavHeader(32_000, 1, 2, {})
    for size in (2_000, None):
        manifest = b"C2PA" + (400).to_bytes(4, "little") + b"\xff" * 400 if size else b""
        file.write_bytes(header.build(size) + b"\x01" * 2_000 + manifest)
        run = subprocess.run([deno, "eval", script], capture_output=True, text=True, check=False)
        assert run.stdout.strip() == "1000", run.stderr
