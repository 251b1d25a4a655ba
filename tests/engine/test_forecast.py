"""Forecasts: the scheduler's rule, played forward."""

import pytest

from serve_app.engine.forecast import ends_s


def test_running_sequences_advance_together() -> None:
    assert ends_s([30, 10, 20], [], 4, lambda _: 0.1) == pytest.approx([3.0, 1.0, 2.0])


def test_waiting_sequences_take_the_slots_that_are_freed_in_their_order() -> None:
    ends = ends_s([30, 10], [50, 5, 5], 2, lambda _: 0.1)
    assert ends == pytest.approx([3.0, 1.0, 6.0, 3.5, 4.0])


def test_sequences_that_are_about_to_start_have_free_slots() -> None:
    assert ends_s([], [10, 20], 2, lambda _: 0.1) == pytest.approx([1.0, 2.0])


def test_a_smaller_batch_may_be_quicker() -> None:
    """Ten steps of two, then twenty of one."""
    assert ends_s([30, 10], [], 2, lambda batch: 0.1 * batch) == pytest.approx([4.0, 2.0])


def test_nothing_runs() -> None:
    assert ends_s([], [], 2, lambda _: 0.1) == []
