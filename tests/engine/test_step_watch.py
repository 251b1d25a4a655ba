"""Time of the step in progress."""

import pytest

from serve_app.engine import step_watch
from serve_app.engine.step_watch import StepWatch
from tests.fakes import Clock


def test_only_a_step_in_progress_has_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(step_watch, "monotonic", clock)
    watch = StepWatch()
    clock.now += 100.0
    assert watch.so_far_s == 0.0
    with watch:
        clock.now += 7.0
        assert watch.so_far_s == 7.0
    assert watch.so_far_s == 0.0
    with watch:
        clock.now += 1.0
        assert watch.so_far_s == 1.0
