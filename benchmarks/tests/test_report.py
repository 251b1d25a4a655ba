"""The output of benchmarks."""

import json

import pytest

from benchmarks.report import print_result, print_table

NAN = float("nan")


def test_what_is_undefined_is_an_empty_cell_and_null(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"ours": {"p95_s": 1.5, "interval_%": NAN}, "theirs": {"p95_s": NAN, "interval_%": 2}}
    print_table(figures)
    print_result("autoscaling", figures=figures, days=(1.0, NAN))
    *table, last = capsys.readouterr().out.splitlines()
    assert table[2:] == ["| ours | 1.5 |  |", "| theirs |  | 2 |"]
    printed = json.loads(last, parse_constant=pytest.fail)
    assert printed["figures"]["ours"] == {"p95_s": 1.5, "interval_%": None}
    assert printed["days"] == [1.0, None]
