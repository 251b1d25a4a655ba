"""The examples of README.md and docs/api.md work as they stand there, except for the port."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import soundfile

from serve_app.launcher import Service

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "api.md"]
URL = "http://127.0.0.1:8000"
BIN = Path(sys.executable).parent
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL)
]
_CURL = [text for language, text in BLOCKS if language == "sh" and text.startswith("curl ")]
[JOB] = [text for text in _CURL if "/v1/jobs" in text]
[MELODY] = [text for text in _CURL if "melody=@" in text]
CURL = [text for text in _CURL if text not in (JOB, MELODY)]
[PYTHON] = [text for language, text in BLOCKS if language == "python"]
[TYPESCRIPT] = [text for language, text in BLOCKS if language == "typescript"]
MUSICGEN = [
    line
    for _, text in BLOCKS
    for line in text.splitlines()
    if re.match(r"musicgen (generate|models)", line)
]


def run(command: list[str], folder: Path, service: Service) -> str:
    command = [part.replace(URL, service.url) for part in command]
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "MUSICGEN_URL": service.url,
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("example", CURL)
def test_curl(service: Service, tmp_path: Path, example: str) -> None:
    soundfile.write(tmp_path / "beginning.wav", [0.1, -0.1] * 16_000, 32_000)
    run(["bash", "-ec", example.replace("curl ", "curl --fail-with-body -sS ")], tmp_path, service)
    output = tmp_path / example.split()[-1]
    assert soundfile.info(output).duration >= 8


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_job(service: Service, tmp_path: Path) -> None:
    example = JOB.replace("curl ", "curl --fail-with-body -sS ")
    job = json.loads(run(["bash", "-ec", example], tmp_path, service))
    assert job["status"] == "queued"
    assert job["webhook"]["url"] == "https://example.com/music"
    assert httpx.delete(f"{service.url}/v1/jobs/{job['id']}", timeout=120).status_code == 204


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_melody(service: Service, tmp_path: Path) -> None:
    """The service has no model that takes one, and says so."""
    soundfile.write(tmp_path / "hummed.m4a", [0.1, -0.1] * 16_000, 32_000, format="WAV")
    example = MELODY.replace("curl ", "curl -sS ").replace("-o brass.wav", "")
    assert json.loads(run(["bash", "-ec", example], tmp_path, service))["code"] == (
        "melody_not_supported"
    )


@pytest.mark.parametrize("example", MUSICGEN)
def test_the_command(service: Service, tmp_path: Path, example: str) -> None:
    assert run(["bash", "-ec", example], tmp_path, service)


def test_python(service: Service, tmp_path: Path) -> None:
    printed = run([sys.executable, "-c", PYTHON], tmp_path, service)
    assert printed.count("bytes more") > 3
    assert "404 model_not_found Model 'huge' is not served here" in printed
    files = {"track.mp3", "longer.wav", "longer.flac", "7.wav", "8.wav", "pad.ogg"}
    assert {file.name for file in tmp_path.iterdir()} == files
    assert soundfile.info(tmp_path / "longer.flac").duration == 12.0
    assert soundfile.info(tmp_path / "pad.ogg").duration == pytest.approx(8.0, abs=0.1)


def test_typescript(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "example.ts"
    file.write_text(TYPESCRIPT.replace(URL, service.url))
    printed = run(
        [str(BIN / "deno"), "run", "--check", "--allow-net=127.0.0.1", str(file)], tmp_path, service
    )
    sizes = re.findall(r"^\d+ (\d+) bytes of WAV$", printed, re.MULTILINE)
    assert [512_000 < int(size) < 516_000 for size in sizes] == [True, True]


def test_there_are_examples() -> None:
    assert len(CURL) >= 3
    assert len(MUSICGEN) == 3
