"""The cores that this process may use."""

import os
import re
from pathlib import Path

import pytest

from serve_app import cpus
from tests.sources import PACKAGE, python_files

_OTHER_COUNT = re.compile(r"\b(cpu_count|sched_getaffinity)\(")


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("3200000 100000", 8),
        (None, 8),
    ],
)
def test_a_containers_quota_bounds_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str | None, cores: int
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(f"{quota}\n")
    monkeypatch.setattr(cpus, "_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cpus.usable_cpus() == cores


def test_nothing_else_counts_cores() -> None:
    """Other counts ignore the quota of a container, on a node with more cores."""
    elsewhere = (file for file in python_files("serve_app") if file != PACKAGE / "cpus.py")
    assert not [file.name for file in elsewhere if _OTHER_COUNT.search(file.read_text())]
