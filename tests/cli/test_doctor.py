"""`musicgen doctor` prints the findings and exits with 1 where one is a problem."""

import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.cli import doctor
from serve_app.doctor import Finding, Level, machine_checks
from serve_app.machine import GIB, free_port
from tests.cli.conftest import Run

GOOD = Finding("Python", Level.OK, "3.11.2")
NOTE = Finding("keys", Level.NOTE, "none", "Make one.")
BAD = Finding("memory", Level.PROBLEM, "0.5 GiB free [of 4]", "Close other programs.")


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """The findings of every examination of small.yaml."""
    found: list[Finding] = []

    def examine(config: Path, port: int) -> Iterator[Finding]:
        assert (config.name, port) == ("small.yaml", 8123)
        return iter(found)

    monkeypatch.setattr(doctor, "examine", examine)
    return found


def test_a_line_for_each_finding_and_its_advice(run: Run, findings: list[Finding]) -> None:
    findings += [GOOD, NOTE, BAD]
    result = run("doctor", "small", "--port", 8123)
    assert result.stdout.splitlines() == [
        "ok      Python: 3.11.2",
        "note    keys: none",
        "        Make one.",
        "problem memory: 0.5 GiB free [of 4]",
        "        Close other programs.",
    ]
    assert result.exit_code == 1


def test_a_note_is_no_failure(run: Run, findings: list[Finding]) -> None:
    findings += [GOOD, NOTE]
    assert run("doctor", "small", "--port", 8123).exit_code == 0


def test_programs_get_json(run: Run, findings: list[Finding]) -> None:
    findings += [GOOD, NOTE]
    result = run("doctor", "small", "--port", 8123, "--json")
    assert json.loads(result.stdout) == [
        {"subject": "Python", "level": "ok", "good": True, "state": "3.11.2", "advice": ""},
        {"subject": "keys", "level": "note", "good": True, "state": "none", "advice": "Make one."},
    ]
    assert result.exit_code == 0


def test_nano_needs_no_network(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite's hub is offline. Other tests may leave little memory and disk."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9 * GIB))
    monkeypatch.setattr(machine_checks, "free_memory_gib", lambda: 9.0)
    result = run("doctor", "--port", free_port())
    assert result.exit_code == 0, result.output
    assert "note    weights: the hub" in result.stdout
