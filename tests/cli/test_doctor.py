"""`musicgen doctor` prints the findings and exits with 1 where one is bad."""

import json
from collections.abc import Iterator

import pytest

from serve_app.cli import doctor
from serve_app.doctor import Finding
from tests.cli.conftest import Run

GOOD = Finding("Python", True, "3.11.2")
BAD = Finding("memory", False, "0.5 GiB free [of 4]", "Close other programs.")


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """The findings of every examination."""
    found: list[Finding] = []

    def examine(port: int) -> Iterator[Finding]:
        assert port == 8123
        return iter(found)

    monkeypatch.setattr(doctor, "examine", examine)
    return found


def test_a_line_for_each_finding_and_its_advice(run: Run, findings: list[Finding]) -> None:
    findings += [GOOD, BAD]
    result = run("doctor", "--port", 8123)
    assert result.stdout.splitlines() == [
        "ok  Python: 3.11.2",
        "no  memory: 0.5 GiB free [of 4]",
        "      Close other programs.",
    ]
    assert result.exit_code == 1


def test_programs_get_json(run: Run, findings: list[Finding]) -> None:
    findings += [GOOD]
    result = run("doctor", "--port", 8123, "--json")
    assert json.loads(result.stdout) == [
        {"subject": "Python", "good": True, "state": "3.11.2", "advice": ""}
    ]
    assert result.exit_code == 0
