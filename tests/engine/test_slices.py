"""Work between steps fits into its budget, as far as its units do."""

import pytest

from serve_app.engine.slices import run_slice


@pytest.mark.parametrize(
    ("budget_s", "expected"), [(0.0, 1), (0.3, 1), (0.59, 1), (0.61, 2), (1.25, 4), (10.0, 10)]
)
def test_units_run_while_another_one_fits(budget_s: float, expected: int) -> None:
    """At least one, so that work goes on beside steps of any length; 10 units of 0.3 s in all."""
    now = 5.0
    done = 0

    def run_unit() -> int:
        nonlocal now, done
        now += 0.3
        done += 1
        return 10 - done

    run_slice(run_unit, budget_s, lambda: now)
    assert done == expected


def test_a_slow_unit_is_the_measure_of_the_next() -> None:
    """Layers differ in time: the second unit took 0.5 s, so that a third exceeds 1 s."""
    times = iter([0.0, 0.1, 0.6, 1.1])
    left = iter([3, 2, 1, 0])
    run_slice(lambda: next(left), 1.0, lambda: next(times))
    assert next(left) == 1
