"""Threads beside the engine's, each with a CUDA stream of its own."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from serve_app.engine.cuda_streams import use_own_stream
from serve_app.engine.device import is_device_failure
from serve_app.errors import ReplicaFailed

logger = logging.getLogger(__name__)

OnFailure = Callable[[Exception], None]
T = TypeVar("T")


def report_to_nobody(_: Exception) -> None:
    """Ignore a failure of the device, where no engine runs: the task's caller gets the error."""


class WorkerThread:
    """A thread that runs one task at a time.

    Once constructed, the thread runs and has its stream. To start it later could invalidate the
    capture of a CUDA graph, because `use_own_stream` waits for the whole device.

    on_failure: called in the thread with an error that leaves the device unusable.
    The constructor raises the error of a thread that cannot be prepared.
    """

    def __init__(self, name: str, device: torch.device, on_failure: OnFailure) -> None:
        self._name = name
        self._device = device
        self._on_failure = on_failure
        self._executor = ThreadPoolExecutor(1, name)
        try:
            self._executor.submit(_prepare_thread, device).result()
        except BaseException:
            self._executor.shutdown()
            raise

    def submit(self, task: Callable[..., T], *args: object) -> Future[T]:
        """Run the task after those submitted before.

        The future raises ReplicaFailed if the task leaves the device unusable.
        """
        return self._executor.submit(self._run, task, *args)

    async def run(self, task: Callable[..., T], *args: object) -> T:
        """Submit the task and await its result. A cancelled caller's task may never start."""
        return await asyncio.wrap_future(self.submit(task, *args))

    def shutdown(self) -> None:
        """Run all submitted tasks, then end the thread. Blocks."""
        self._executor.shutdown()

    def _run(self, task: Callable[..., T], *args: object) -> T:
        try:
            return task(*args)
        except Exception as error:
            if not is_device_failure(error, self._device):
                raise
            logger.critical("The device failed in thread %s: the engine ends", self._name)
            self._on_failure(error)
            raise ReplicaFailed(
                "The replica's device failed. The same request may be sent again."
            ) from error


def _prepare_thread(device: torch.device) -> None:
    torch.set_num_threads(1)
    use_own_stream(device)
