"""`musicgen jobs migrate` prepares a store."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_store_is_migrated_once(run: Run, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a' / 'jobs.db'}"
    first = run("jobs", "migrate", "--store", store)
    assert (first.exit_code, first.stdout) == (0, "0001_jobs: applied now\n")
    assert run("jobs", "migrate", "--store", store).stdout == "0001_jobs: applied before\n"
    result = run("jobs", "migrate", "--store", store, "--json")
    assert json.loads(result.stdout) == {"applied_before": ["0001_jobs"], "applied_now": []}


def test_the_variable_names_the_store(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_JOBS_STORE", f"sqlite:///{tmp_path / 'jobs.db'}")
    assert run("jobs", "migrate").exit_code == 0
    assert (tmp_path / "jobs.db").exists()


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("mysql://me:secret@host", "--store must be sqlite:///PATH"),
        ("postgresql://me:secret@127.0.0.1:1/db", "cannot be reached"),
        ("sqlite:////proc/jobs.db", "cannot be written"),
    ],
)
def test_a_store_that_cannot_be_used_is_an_error(run: Run, store: str, message: str) -> None:
    result = run("jobs", "migrate", "--store", store)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "secret" not in result.stderr
