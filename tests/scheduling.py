"""Distribution of the tests over the processes of pytest-xdist."""

import pytest
from xdist.scheduler import LoadScopeScheduling

SHARED_RAY = "shared Ray"
OWN_RAY = "Ray of their own"
# Files whose tests start a Ray of their own, and end it.
OWN_RAY_PATHS = (
    "tests/cli/test_serve.py", "tests/service/test_fine_tunes.py", "tests/service/test_job_faults.py",
    "tests/service/test_kubernetes_settings.py", "tests/service/test_melody.py",
    "tests/service/test_multiband_diffusion.py", "tests/service/test_postgres_restart.py",
    "tests/service/test_signed_files.py", "tests/test_added_nodes.py", "tests/test_lost_head.py",
    "tests/test_start.py", "tests/test_two_proxies.py", "tests/test_wheel.py",
)  # fmt: skip
# Files and folders whose tests use the Ray of the fleet or that of the service.
SHARED_RAY_PATHS = (
    "tests/cluster/", "tests/service/", "tests/supabase/test_flow.py",
    "tests/test_edge_function.py", "tests/test_observability.py", "tests/test_page.py",
    "tests/test_ray_ports.py", "tests/test_readme.py", "tests/tools/test_soak.py",
)  # fmt: skip


class RayAndFiles(LoadScopeScheduling):  # type: ignore[misc]
    """All tests of a shared Ray in one process, one after another; the others by files.

    Those with a Ray of their own have one process, too: there are two Rays at most at a time.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return the group of a test, which its process runs as a whole."""
        return group(nodeid)


def group(nodeid: str) -> str:
    if nodeid.startswith(OWN_RAY_PATHS):
        return OWN_RAY
    return SHARED_RAY if nodeid.startswith(SHARED_RAY_PATHS) else nodeid.partition("::")[0]


def uses_ray(item: pytest.Item) -> bool:
    return group(item.nodeid) in (SHARED_RAY, OWN_RAY)


def order(item: pytest.Item, parallel: bool) -> list[bool]:
    """Return the sort key of a test.

    The tests of the service follow all others of Ray; those that change it are the last of them.
    Among several processes, the tests of Ray come first: they take their processes the longest.
    """
    assert isinstance(item, pytest.Function)
    ray = uses_ray(item)
    changes, uses = (name in item.fixturenames for name in ("changed_service", "service"))
    return [parallel and not ray, ray and changes, ray and uses]


def require_group(item: pytest.Item, service: type) -> None:
    """Refuse a test that uses the service outside its group: it would start a second Ray."""
    assert isinstance(item, pytest.Function)
    uses = "service" in item.fixturenames and getattr(item.module, "Service", None) is service
    if uses and group(item.nodeid) != SHARED_RAY:
        raise pytest.UsageError(
            f"{item.path} uses the service. Add it to SHARED_RAY_PATHS of tests/scheduling.py."
        )
