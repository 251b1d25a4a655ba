"""A gate before the steps of an engine: tests decide between which steps requests come and go."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from unittest.mock import patch

from serve_app.engine.engine import Engine
from serve_app.engine.loop import FIRST
from serve_app.engine.sequence import Sequence

PATIENCE_S = 60.0
ALL = 10_000  # more steps than a test makes


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that another thread brings about. Raises TimeoutError after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the engine's state changes in another thread
            await asyncio.sleep(0.002)


class StepGate:
    """Holds the engine's thread before a step, while requests come.

    steps: those that pass before the thread is held.
    """

    def __init__(self, engine: Engine, steps: int) -> None:
        self._loop = engine.loop
        self._step = engine.loop.batch.step
        self._passes = threading.Semaphore(steps)
        self._held = threading.Event()

    def step(self, slots: int, sequences: Iterable[Sequence]) -> None:
        """Step as Batch does, once the gate is open. Called in the engine's thread."""
        if not self._passes.acquire(blocking=False):
            self._held.set()
            assert self._passes.acquire(timeout=PATIENCE_S), "nobody opens the gate"
        self._step(slots, sequences)

    async def reached(self) -> None:
        """Wait until the thread is held."""
        assert await asyncio.to_thread(self._held.wait, PATIENCE_S)

    async def requests(self, count: int) -> None:
        """Wait until the thread is held and so many requests have slots, wait, or are in the inbox."""
        await self.reached()
        lane = self._loop._lanes[FIRST].scheduler
        await until(
            lambda: len(lane.running) + len(lane.waiting) + self._loop._inbox.qsize() == count
        )

    def let(self, steps: int = ALL) -> None:
        """Let further steps pass; by default all."""
        self._held.clear()
        self._passes.release(steps)


@contextlib.contextmanager
def gated(engine: Engine, steps: int = 0) -> Iterator[StepGate]:
    """Hold the engine's thread after so many further steps of its first lane."""
    gate = StepGate(engine, steps)
    with patch.object(engine.loop.batch, "step", gate.step):
        try:
            yield gate
        finally:
            gate.let()
