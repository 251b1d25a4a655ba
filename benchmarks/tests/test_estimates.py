"""Errors of estimates, as factors."""

from benchmarks.estimates import SCENARIOS, Heard, figures_of


def test_there_are_fifty_requests() -> None:
    assert sum(rounds * callers for rounds, callers in SCENARIOS.values()) == 50


def test_errors_are_factors_in_either_direction() -> None:
    heard = Heard([(0.0, 20.0), (5.0, 2.5), (9.9, 100.0)], ended_at=10.0)
    assert heard.errors() == [2.0, 2.0], "the last one is too near to the end"
    assert Heard([(0.0, None), (1.0, 0.0)], ended_at=5.0).errors() == [float("inf")] * 2


def test_figures() -> None:
    heard = [Heard([(0.0, 10.0), (5.0, 20.0)], 10.0), Heard([(0.0, 30.0)], 10.0)]
    assert figures_of(heard) == {
        "requests": 2, "events": 3, "first, median": 2.0, "first, worst": 3.0,
        "all, median": 3.0, "all, worst": 4.0, "within a factor of 2, %": 33.3,
    }  # fmt: skip
