"""Threads beside the engine's: prepared at once, one task at a time, and their failures."""

import threading
from collections.abc import Iterator

import pytest
import torch

from serve_app.engine import worker_thread
from serve_app.engine.worker_thread import WorkerThread
from serve_app.errors import ReplicaFailed

CPU = torch.device("cpu")
TIMEOUT_S = 30.0


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
def thread(failures: list[Exception]) -> Iterator[WorkerThread]:
    thread = WorkerThread("musicgen-test", CPU, failures.append)
    yield thread
    thread.shutdown()


def device_assert() -> None:
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")


def test_a_constructed_thread_has_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its first task would wait for the device, in the midst of a graph's capture."""
    prepared: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(
        worker_thread,
        "use_own_stream",
        lambda device: prepared.append((threading.current_thread().name, device)),
    )
    thread = WorkerThread("musicgen-test", torch.device("cuda", 1), lambda _: None)
    assert prepared == [("musicgen-test_0", torch.device("cuda", 1))]
    thread.submit(int).result(TIMEOUT_S)
    thread.shutdown()
    assert len(prepared) == 1


def test_a_thread_that_cannot_be_prepared_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_thread, "use_own_stream", lambda _: device_assert())
    with pytest.raises(torch.AcceleratorError, match="device-side assert"):
        WorkerThread("musicgen-broken", CPU, lambda _: None)
    assert not [thread for thread in threading.enumerate() if "broken" in thread.name]


async def test_tasks_run_one_after_the_other(thread: WorkerThread) -> None:
    release = threading.Event()
    first = thread.submit(release.wait, TIMEOUT_S)
    second = thread.submit(threading.get_ident)
    assert not second.done()
    release.set()
    assert first.result(TIMEOUT_S)
    assert second.result(TIMEOUT_S) == await thread.run(threading.get_ident)


async def test_a_failed_device_is_reported_from_the_thread(
    thread: WorkerThread, failures: list[Exception]
) -> None:
    """The report does not depend on a caller who still waits."""
    with pytest.raises(ReplicaFailed, match="device failed"):
        await thread.run(device_assert)
    assert [str(error) for error in failures] == ["CUDA error: device-side assert triggered"]


async def test_an_error_of_the_request_is_the_callers_alone(
    thread: WorkerThread, failures: list[Exception]
) -> None:
    def fail() -> None:
        raise ValueError("a prompt of 0 samples")

    with pytest.raises(ValueError, match="a prompt of 0 samples"):
        await thread.run(fail)
    assert await thread.run(int) == 0, "the thread goes on"
    assert failures == []
