"""Fixtures of the whole suite. Nothing here reaches a network: the hub's cache is a temporary folder."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

HUB = tempfile.TemporaryDirectory(prefix="musicgen-serve-hub-")
os.environ |= {
    "HF_HOME": HUB.name,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "RAY_AUTH_MODE": "disabled",
}

import pytest  # noqa: E402
import torch  # noqa: E402

from serve_app.launcher import ProgressLine, Service  # noqa: E402
from serve_app.machine import free_port  # noqa: E402
from serve_app.models.checkpoint import Checkpoint, load_checkpoint  # noqa: E402

torch.set_num_threads(1)  # as in a replica: the engine's thread has the only pool
CONFIGS = Path(__file__).parent.parent / "configs"
EMBEDDED = "embedded:musicgen-nano"


@pytest.fixture(scope="session", autouse=True)
def hub_cache() -> Iterator[Path]:
    """The hub's cache, empty at first."""
    yield Path(HUB.name) / "hub"
    HUB.cleanup()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def nano() -> Checkpoint:
    return load_checkpoint(EMBEDDED)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The whole application, started as `make serve` starts it: one Ray for all tests. Nothing of it may be left."""
    with Service(CONFIGS / "nano.yaml", free_port(), ProgressLine()) as service:
        processes = service.processes()
        yield service
    assert len(processes) > 5, "Ray is several processes"
    assert [process for process in processes if process.is_running()] == []
