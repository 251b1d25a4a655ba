"""`musicgen models` lists the served models."""

import json

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("url")


def test_a_row_for_each_model(run: Run) -> None:
    result = run("models")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1] == ["small", "tiny", "facebook/musicgen-small", "CC-BY-NC-4.0", "yes", "no"]
    assert rows[2] == ["large", "facebook/musicgen-large", "CC-BY-NC-4.0", "no", "unknown"]


def test_programs_get_json(run: Run) -> None:
    served = json.loads(run("models", "--json").stdout)
    assert [model["id"] for model in served] == ["small", "large"]
