"""Residents: fine-tunes in memory, loaded when they are asked for, least recently used out."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, Protocol, TypeVar

from serve_app.engine.errors import ModelLoadFailed
from serve_app.errors import ModelLoading, QueueFull, ReplicaFailed, ServeAppError

logger = logging.getLogger(__name__)

Found = TypeVar("Found")
_TYPICAL_LOAD_S = 5.0  # before a load has been seen
_BROKEN_S = 30.0  # after a failed load, until the next try


class Source(Protocol[Found]):
    """Checkpoints by name."""

    async def find(self, name: str) -> Found:
        """Find a checkpoint, without memory for its weights. Raises CheckpointError."""
        ...

    async def load(self, name: str, found: Found) -> None:
        """Load what was found. Raises CheckpointError."""
        ...

    async def unload(self, name: str) -> None:
        """Free the memory of a checkpoint that nobody uses."""
        ...


@dataclass(eq=False)
class _Resident:
    """users: requests that need it; in_place: whether one of the places is its own."""

    users: int = 0
    in_place: bool = False
    loading: "asyncio.Task[None] | None" = None

    @property
    def is_loaded(self) -> bool:
        return self.in_place and self.loading is not None and self.loading.done()

    @property
    def is_idle(self) -> bool:
        return self.is_loaded and not self.users


class Residents(Generic[Found]):
    """At most `places` checkpoints of a source at a time. Used in one event loop.

    max_wait_s: seconds that a request waits for a place and for the load; announce: called with
    `names` whenever they have changed.
    """

    def __init__(
        self,
        source: Source[Found],
        places: int,
        max_wait_s: float,
        announce: Callable[[list[str]], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._places = places
        self._max_wait_s = max_wait_s
        self._announce = announce
        self._residents: OrderedDict[str, _Resident] = OrderedDict()  # least recently used first
        self._failures: dict[str, tuple[ModelLoadFailed, float]] = {}  # until when
        self._load_s = _TYPICAL_LOAD_S
        self._changed = asyncio.Event()  # replaced at each change

    @property
    def names(self) -> list[str]:
        """Names of the checkpoints in memory, and of those that are being loaded."""
        return [name for name, resident in self._residents.items() if resident.in_place]

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Keep a checkpoint in memory for the length of the block; load it first if need be.

        Raises QueueFull if all places are in use for `max_wait_s`, ModelLoading if the load takes
        longer than that, and ModelLoadFailed.
        """
        resident = self._resident(name)
        resident.users += 1
        self._residents.move_to_end(name)
        try:
            await self._wait(name, resident)
            yield
        finally:
            resident.users -= 1
            self._change()

    def _resident(self, name: str) -> _Resident:
        """Return the checkpoint's resident; begin to load one that is not there."""
        if (resident := self._residents.get(name)) is not None:
            return resident
        failure, until = self._failures.get(name, (None, 0.0))
        if failure is not None and monotonic() < until:
            raise ModelLoadFailed(failure.message, until - monotonic())
        resident = self._residents[name] = _Resident()
        resident.loading = asyncio.create_task(self._load(name, resident))
        resident.loading.add_done_callback(_retrieve)
        return resident

    async def _wait(self, name: str, resident: _Resident) -> None:
        if resident.loading is None or resident.is_loaded:
            return
        try:
            async with asyncio.timeout(self._max_wait_s):
                await asyncio.shield(resident.loading)
        except TimeoutError:
            if resident.in_place:
                raise ModelLoading(
                    f"Model '{name}' is loading. Send the request again later.", self._load_s
                ) from None
            raise QueueFull(
                f"All {self._places} places for fine-tunes are in use by other requests. Send the "
                "request again later.",
                self._load_s,
            ) from None

    async def _load(self, name: str, resident: _Resident) -> None:
        """Find, make room, load."""
        try:
            found = await self._source.find(name)
            await self._make_room(resident)
            began = monotonic()
            await self._source.load(name, found)
        except BaseException as error:
            del self._residents[name]
            self._announce(self.names)
            self._change()
            if not isinstance(error, Exception) or isinstance(error, ReplicaFailed):
                raise
            raise self._failure(name, error) from error
        self._load_s = monotonic() - began
        self._change()
        logger.info("Fine-tune '%s' was loaded in %.2f s", name, self._load_s)

    async def _make_room(self, resident: _Resident) -> None:
        """Take a place, as soon as one is free or its checkpoint idle.

        Raises CancelledError once nobody waits for the checkpoint any more.
        """
        while True:
            if not resident.users:
                raise asyncio.CancelledError
            if len(self.names) < self._places:
                resident.in_place = True
                self._announce(self.names)
                return
            if (idle := self._least_recently_used()) is not None:
                del self._residents[idle]
                resident.in_place = True
                self._announce(self.names)
                logger.info("Fine-tune '%s' leaves its place to another", idle)
                await self._source.unload(idle)
                return
            await self._changed.wait()

    def _least_recently_used(self) -> str | None:
        residents = self._residents.items()
        return next((name for name, resident in residents if resident.is_idle), None)

    def _failure(self, name: str, error: Exception) -> ModelLoadFailed:
        """Remember, for a while, that a checkpoint cannot be loaded, and log why."""
        reason = error.message if isinstance(error, ServeAppError) else repr(error)
        logger.error("Fine-tune '%s' cannot be loaded: %s", name, reason)
        failure = ModelLoadFailed(
            f"Model '{name}' could not be loaded; the reason is in the replica's log.", _BROKEN_S
        )
        self._failures[name] = (failure, monotonic() + _BROKEN_S)
        return failure

    def _change(self) -> None:
        """Wake all who wait for a place, in their order."""
        self._changed.set()
        self._changed = asyncio.Event()


def _retrieve(loading: "asyncio.Task[None]") -> None:
    """Take note of a load's error, which nobody may wait for any more."""
    if not loading.cancelled():
        loading.exception()
