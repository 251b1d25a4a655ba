"""The benchmark tells what the detector finds, and what marking and detecting take."""

from pathlib import Path

import pytest
import torch

from benchmarks import watermark
from benchmarks.watermark import CHANGES, MESSAGE, RATE, costs, rates, tracks_of
from serve_app.checkpoints.audioseal import load_detector, load_generator
from serve_app.models.audioseal.watermark import Watermark
from tests.audioseal import write_detector, write_generator

CPU = torch.device("cpu")


def test_tracks_differ_and_stay_the_same() -> None:
    first, second = tracks_of(2, 0.5)
    assert first.shape == second.shape == (1, RATE // 2)
    assert not (first == second).all()
    assert (tracks_of(1, 0.5)[0] == first).all()


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_leaves_audio(name: str) -> None:
    changed = CHANGES[name](tracks_of(1, 1.5)[0])
    seconds = 1.5 - 1.234 if name.startswith("cut") else 1.5
    assert changed.shape[1] / RATE == pytest.approx(seconds, abs=0.1)


@pytest.mark.long
@pytest.mark.parametrize(("finds", "found"), [(True, 100), (False, 0)])
def test_rates_are_those_of_the_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finds: bool, found: int
) -> None:
    """Here one that answers the same for all audio: every hit is a false alarm, too."""
    chosen = {name: CHANGES[name] for name in ("none", "opus 64")}
    monkeypatch.setattr(watermark, "CHANGES", chosen)
    marks = Watermark(load_generator(write_generator(tmp_path / "g"), CPU), RATE, MESSAGE, -30.0)
    detector = load_detector(write_detector(tmp_path / "d", MESSAGE, finds=finds), CPU)
    rows = rates(marks, detector, tracks_of(1, 0.5))
    assert list(rows) == ["none", "opus 64"]
    for row in rows.values():
        assert (row["detected %"], row["false alarms %"]) == (found, found)
        assert row["right bits %"] == 100


def test_costs_are_measured_for_both_variants() -> None:
    rows = costs(0.5, 1)
    assert list(rows) == ["mark, base", "mark, streaming", "detect"]
    assert all(row["ms"] > 0 for row in rows.values())
    later = [row["first audio later by ms"] for row in rows.values()]
    assert later[0] > later[1] > later[2] == 0
