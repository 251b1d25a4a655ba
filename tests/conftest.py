"""Fixtures of the whole suite.

No test reaches a network, and none writes into the home folder: the hub's cache and the job store are
in temporary folders.
"""

import gc
import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from serve_app.machine import free_port

gc.disable()  # while tests are collected: a fifth of that time
HUB = tempfile.TemporaryDirectory(prefix="musicgen-serve-hub-", ignore_cleanup_errors=True)
JOBS = tempfile.TemporaryDirectory(prefix="musicgen-serve-jobs-", ignore_cleanup_errors=True)
# Its sockets need short paths.
RAY = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
COLLECTOR_PORT = free_port()  # of the trace collector; tests of traces listen there
os.environ |= {
    "HF_HOME": HUB.name,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MUSICGEN_JOBS_STORE": f"sqlite:///{JOBS.name}/jobs.db",  # the name begins with a slash
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{COLLECTOR_PORT}",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "RAY_TMPDIR": RAY.name,  # processes of pytest-xdist have a Ray each, whose session is the latest there
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's ports are on the loopback interface
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # of every Ray that a test starts
}

import psutil  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from xdist.remote import Producer  # noqa: E402

from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from serve_app.launch.progress import ProgressLine  # noqa: E402
from serve_app.launcher import Service  # noqa: E402
from tests.scheduling import RayAndFiles, order, require_group, uses_ray  # noqa: E402

torch.set_num_threads(1)  # as in a replica: the engine's thread has the only pool
CONFIGS = Path(__file__).parent.parent / "configs"
SLOWEST_BODY_S = 5  # more than a busy machine lets a process stand still
STREAM_GRACE_S = 5
END_S = 60
UPLOAD_MEMORY_BYTES = 2**25
EMBEDDED = "embedded:musicgen-nano"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> RayAndFiles:
    """Distribute the tests of several processes (`pytest -n 2`)."""
    return RayAndFiles(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run one Ray at a time in each process: the tests of the shared one have a process, and an order."""
    for item in items:
        require_group(item, Service)
    parallel = hasattr(config, "workerinput")
    items.sort(key=lambda item: order(item, parallel))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary cases by their argument. All processes need the same names, and gzip writes the time."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


def pytest_collection_finish() -> None:
    """Let the collector pass over all modules and tests from now on."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Collect what a crowd of cancelled callers of a service has left: on a busy machine some sockets.

    A later test, which the collector happens to run in, would fail for them.
    """
    if uses_ray(item):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(scope="session", autouse=True)
def hub_cache() -> Iterator[Path]:
    """Folder of the hub's cache, empty at first."""
    yield Path(HUB.name) / "hub"
    HUB.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _folders() -> Iterator[None]:
    """Erase the folders of jobs and of Ray's sessions after the last test."""
    yield
    JOBS.cleanup()
    RAY.cleanup()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def nano() -> Checkpoint:
    return load_checkpoint(EMBEDDED)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The whole application, started as `make serve` starts it, on one Ray for all tests. No process may outlive it.

    It prices tracks, logs JSON, and traces requests whose callers trace them.
    """
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    config["logging_config"]["encoding"] = "JSON"
    config["tracing_config"] = {
        "enabled": True,
        "exporter_import_path": "serve_app.deployments.tracing:otlp",
        "sampling_ratio": 0.0,
    }
    args = config["applications"][0]["args"]
    args["models"][0]["price_per_hour"] = 0.36
    args["api"]["stream_grace_s"] = STREAM_GRACE_S
    args["api"]["upload_memory_bytes"] = UPLOAD_MEMORY_BYTES
    args["jobs"] = {"webhooks": {"allow_private_addresses": True}}
    args["edge"] = {"header_timeout_s": SLOWEST_BODY_S, "body_timeout_s": SLOWEST_BODY_S}
    file = tmp_path_factory.mktemp("service") / "nano.yaml"
    file.write_text(yaml.safe_dump(config))
    with Service(file, free_port(), ProgressLine()) as service:
        processes = service.processes()
        yield service
    assert len(processes) > 5, "Ray is several processes"
    _, left = psutil.wait_procs(processes, timeout=END_S)
    assert left == []
