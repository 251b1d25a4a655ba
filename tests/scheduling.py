"""Distribution of the tests over the processes of pytest-xdist."""

import pytest
from xdist.scheduler import LoadScopeScheduling

RAY = "ray"
# Files and folders whose tests start Ray, or use that of the service.
RAY_PATHS = (
    "tests/cli/test_serve.py", "tests/cluster/", "tests/service/", "tests/supabase/test_flow.py",
    "tests/test_added_nodes.py", "tests/test_edge_function.py", "tests/test_lost_head.py",
    "tests/test_observability.py", "tests/test_page.py",
    "tests/test_ray_ports.py", "tests/test_readme.py", "tests/test_serves_haproxy.py",
    "tests/test_start.py", "tests/test_two_proxies.py",
    "tests/test_wheel.py", "tests/tools/test_soak.py",
)  # fmt: skip


class RayAndFiles(LoadScopeScheduling):  # type: ignore[misc]
    """All tests that start Ray in one process, one after another; the others by files."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the group of a test, which its process runs as a whole."""
        return RAY if starts_ray(nodeid) else nodeid.partition("::")[0]


def starts_ray(nodeid: str) -> bool:
    return nodeid.startswith(RAY_PATHS)


def order(item: pytest.Item, parallel: bool) -> list[bool]:
    """Return the sort key of a test.

    The tests of the service follow all others of Ray; those that change it are the last of them.
    Among several processes, the tests of Ray come first: they take one process the longest.
    """
    assert isinstance(item, pytest.Function)
    ray = starts_ray(item.nodeid)
    changes, uses = (name in item.fixturenames for name in ("changed_service", "service"))
    return [parallel and not ray, ray and changes, ray and uses]


def require_group(item: pytest.Item, service: type) -> None:
    """Refuse a test that uses the service outside RAY_PATHS: it would start a second Ray."""
    assert isinstance(item, pytest.Function)
    uses = "service" in item.fixturenames and getattr(item.module, "Service", None) is service
    if uses and not starts_ray(item.nodeid):
        raise pytest.UsageError(
            f"{item.path} starts Ray. Add it to RAY_PATHS of tests/scheduling.py."
        )
