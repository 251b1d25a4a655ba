"""Distribution of the tests over the processes of pytest-xdist."""

import pytest
from xdist.scheduler import LoadGroupScheduling

RAY = "ray"


class RayAndFiles(LoadGroupScheduling):  # type: ignore[misc]
    """All tests that start Ray in one process, one after another; the others by files."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the group of a test, which its process runs as a whole."""
        group: str = super()._split_scope(nodeid)
        return group.partition("::")[0]


def starts_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker(RAY) is not None or any(uses_service(item))


def uses_service(item: pytest.Item) -> list[bool]:
    """Tell whether the test changes the service, and whether it uses it."""
    assert isinstance(item, pytest.Function)
    return [fixture in item.fixturenames for fixture in ("changed_service", "service")]


def order(item: pytest.Item, parallel: bool) -> list[bool]:
    """Return the sort key of a test.

    The tests of the service follow all others of Ray; those that change it are the last of them.
    Among several processes, the tests of Ray come first: they take one process the longest.
    """
    return [parallel and not starts_ray(item), *uses_service(item)]
