"""The cost table: bounds, measured times, goals, and its place in the documentation."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cost import BEGIN, END, goal_rows, row, rows, summary_table, update
from benchmarks.peers import SCALES
from benchmarks.speed_model import STEPS, Measured, load, track_bytes

MODEL, GOALS = load()
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_a_computed_time_has_bounds_and_a_price() -> None:
    one = row(replace(MODEL, measured={}), MODEL.cards["H100"], "medium", 1)
    assert one["source"] == "computed"
    assert one["least_s"] == pytest.approx(0.65 * one["seconds"], rel=0.01)
    assert one["most_s"] == pytest.approx(1.35 * one["seconds"], rel=0.01)
    assert one["dollars"] == pytest.approx(one["seconds"] * 6.88 / 3600, rel=0.01)
    assert one["eager_s"] > one["seconds"] > one["floor_s"]


def test_a_measured_time_replaces_the_computed_one() -> None:
    measured = replace(MODEL, measured={("H100", "medium", 1): Measured(5.0, 1e12)})
    one = row(measured, measured.cards["H100"], "medium", 1)
    assert (one["source"], one["seconds"], one["least_s"], one["most_s"]) == ("measured", 5, 5, 5)
    floor = track_bytes(SCALES["medium"], 1, STEPS) / 1e12
    assert one["share_of_floor"] == pytest.approx(floor / 5, abs=1e-3)
    assert row(measured, measured.cards["H100"], "medium", 16)["source"] == "computed"
    [goal] = goal_rows(measured, [{"card": "H100", "size": "medium", "together": 1, "seconds": 4}])
    assert (goal["figure"], goal["met"]) == (5, False)


def test_tracks_that_do_not_fit_in_memory_have_no_row() -> None:
    found = {(one["card"], one["size"]) for one in rows(MODEL, 16)}
    assert ("L40S", "large") in found
    assert ("A10G", "large") not in found
    assert len(rows(MODEL, 1)) == 18


def test_each_goal_has_its_figure() -> None:
    """A small model on an L40S misses its share of the floor by the model: launches bound it."""
    found = goal_rows(MODEL, GOALS)
    assert len(found) == 9
    assert [(one["card"], one["size"]) for one in found if not one["met"]] == [("L40S", "small")]


def test_the_documentation_has_the_computed_tables(tmp_path: Path) -> None:
    copy = tmp_path / "benchmarks.md"
    copy.write_text(PAGE.read_text())
    update(copy, MODEL, GOALS)
    assert copy.read_text() == PAGE.read_text(), "run the command in the page's comment"
    assert summary_table(MODEL) in PAGE.read_text()


def test_a_page_without_a_place_for_the_tables_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"text\n{BEGIN}text\n")
    with pytest.raises(SystemExit, match="add the lines"):
        update(page, MODEL, GOALS)
    assert page.read_text() == f"text\n{BEGIN}text\n"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    update(page, MODEL, GOALS)
    assert page.read_text().startswith(f"before\n{BEGIN}")
    assert page.read_text().endswith(f"{END}after\n")
    assert "old" not in page.read_text()
