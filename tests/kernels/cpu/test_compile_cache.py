"""Compiled kernels are loaded again for the same sources only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.kernels.cpu.compile_cache import sources_digest
from tests.sources import PACKAGE

CODE = (
    "import numpy as np; from serve_app.kernels.cpu.functions import exp;"
    "print(exp(np.float32(-1)), sum(exp.stats.cache_hits.values()))"
)
FROM_BITS = "return builder.bitcast(arguments[0], ir.FloatType())"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the kernels, in a package of its own and without compiled ones."""
    kernels = tmp_path / "serve_app" / "kernels"
    shutil.copytree(PACKAGE / "kernels", kernels, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "serve_app" / "__init__.py").touch()
    return kernels / "cpu"


def evaluate(copied: Path, **variables: str) -> tuple[float, int]:
    """exp(-1) in a new process, and the number of kernels loaded from the cache."""
    path = str(copied.parents[2])
    environment = {name: value for name, value in os.environ.items() if "NUMBA" not in name}
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        cwd=path,
        env=environment | {"PYTHONPATH": path} | variables,
    )
    value, hits = run.stdout.split()
    return float(value), int(hits)


def test_a_change_of_an_imported_file_compiles_again(copied: Path) -> None:
    first, hits = evaluate(copied)
    assert first == pytest.approx(0.36788, rel=1e-4)
    assert hits == 0
    assert list((copied / "__pycache__").glob("functions.exp-*.nbi"))
    assert evaluate(copied) == (first, 1)
    imported = copied / "intrinsics.py"
    changed = imported.read_text().replace(FROM_BITS, "return ir.Constant(ir.FloatType(), 2.0)")
    imported.write_text(changed)
    second, hits = evaluate(copied)
    assert hits == 0
    assert second > 1, "the series is now multiplied by 2"


def test_a_folder_of_the_user_is_used(copied: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert evaluate(copied, NUMBA_CACHE_DIR=str(folder))[1] == 0
    assert list(folder.rglob("functions.exp-*.nbi"))
    assert not list((copied / "__pycache__").glob("*.nbi"))
    assert evaluate(copied, NUMBA_CACHE_DIR=str(folder))[1] == 1


def test_an_unwritable_package_is_cached_for_the_user(copied: Path, tmp_path: Path) -> None:
    """A file in place of `__pycache__` keeps every user from writing there, root included."""
    (copied / "__pycache__").touch()
    folder = tmp_path / "user"
    assert evaluate(copied, XDG_CACHE_HOME=str(folder))[1] == 0
    assert list(folder.rglob("functions.exp-*.nbi"))
    assert evaluate(copied, XDG_CACHE_HOME=str(folder))[1] == 1
    (copied / "packing.py").write_text("TILE = 8\n")
    assert evaluate(copied, XDG_CACHE_HOME=str(folder))[1] == 0


def test_the_digest_follows_names_and_contents(tmp_path: Path) -> None:
    digests = []
    for name, content in (("a.py", "1"), ("a.py", "2"), ("b.py", "2"), ("c.txt", "3")):
        (tmp_path / name).write_text(content)
        digests.append(sources_digest(tmp_path))
    assert len(set(digests)) == 3
    assert digests[3] == digests[2], "only Python files count"
