"""A replica that has less patience with itself than one that is shipped.

A module of its own, as replicas import it: the tests' conftest has folders of its own in each process.
"""

from serve_app.deployments import hang_guard
from serve_app.engine import engine
from tests.cluster.fragile import Fragile

LIMIT_S = 5.0


class Impatient(Fragile):
    """A fragile replica that gives itself LIMIT_S, and each step of its engine as long."""

    def __init__(self, *args: object) -> None:
        hang_guard.LIMIT_S = LIMIT_S
        engine.LONGEST_STEP_S = LIMIT_S
        super().__init__(*args)
