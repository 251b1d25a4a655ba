"""Work between steps, in slices of limited time."""

from collections.abc import Callable


def run_slice(run_unit: Callable[[], int], budget_s: float, clock: Callable[[], float]) -> None:
    """Run units until one more, as long as the last one, would exceed `budget_s` seconds.

    Runs at least one. run_unit: returns the units that are left; clock: returns seconds, once all
    work so far is done.
    """
    started_at = clock()
    before = started_at
    while run_unit():
        now = clock()
        if now - started_at + now - before > budget_s:
            return
        before = now
