"""The wheel works outside the repository: it is installed in an environment of its own, and serves."""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import soundfile

from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.sources import ROOT

CLEAN = {
    name: value
    for name, value in os.environ.items()
    if name not in {"PYTHONPATH", "VIRTUAL_ENV", "MUSICGEN_URL", "MUSICGEN_API_KEY"}
}
SERVE = "from ray.serve.scripts import cli; cli()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    run([*build, "--directory", str(folder)], ROOT)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel. The dependencies are this environment's own."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    run([sys.executable, "-m", "virtualenv", "--quiet", "--no-download", str(folder)], ROOT)
    python = folder / "bin" / "python"
    run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        folder,
    )
    [packages] = folder.glob("lib/python*/site-packages")
    # Python reads no .pth file of a folder that a .pth file names: the repository stays out.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    script = folder / "bin" / "serve"
    script.write_text(f"#!{python}\n{SERVE}\n")
    script.chmod(0o755)
    return python


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=CLEAN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def url(python: Path, tmp_path: Path) -> Iterator[str]:
    """URL of `musicgen serve`, run in an empty folder."""
    port = str(free_port())
    command = [str(python.with_name("musicgen")), "serve", "--port", port]
    with subprocess.Popen(
        command, cwd=tmp_path, env=CLEAN, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            ready = next((line for line in process.stdout if line.startswith("http://")), "")
            assert ready.startswith(f"http://127.0.0.1:{port}")
            processes = psutil.Process(process.pid).children(recursive=True)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    assert [one for one in processes if one.is_running()] == []


def test_the_configurations_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            Path(name).name: archive.read(name)
            for name in archive.namelist()
            if re.fullmatch(r"serve_app/configs/[^/]+\.yaml", name)
        }
        names = archive.namelist()
    assert packed == {file.name: file.read_bytes() for file in CONFIGS.glob("*.yaml")}
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"serve_app"}
    assert "serve_app/assets/musicgen-nano/model.safetensors" in names
    assert "serve_app/py.typed" in names, "type checkers of callers read the client's types"


def test_the_package_comes_from_the_wheel(python: Path, tmp_path: Path) -> None:
    code = "import serve_app; from serve_app.config.files import *; print(serve_app.__file__, find_config('all'))"
    package, config = run([str(python), "-c", code], tmp_path).split()
    assert Path(package).is_relative_to(python.parents[1])
    assert Path(config) == Path(package).with_name("configs") / "all.yaml"


@pytest.mark.long
def test_it_makes_music_outside_the_repository(python: Path, url: str, tmp_path: Path) -> None:
    command = [str(python.with_name("musicgen")), "generate", "lofi beat", "--duration", "2"]
    printed = run([*command, "--seed", "7", "--output", "demo.wav", "--url", url], tmp_path)
    assert printed.startswith("demo.wav: 2 s by nano, seed 7")
    assert soundfile.info(tmp_path / "demo.wav").duration == 2.0
