"""Warm-ups of lanes in units between the steps of others: captures of CUDA graphs, first steps."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from time import perf_counter
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class _WarmUp(NamedTuple):
    units: Iterator[None]
    future: Future[None]
    give_up: Callable[[Exception], None]


class WarmUps:
    """Warm-ups in their order. Used by the engine's thread alone.

    busy_s: seconds that they took so far.
    """

    def __init__(self) -> None:
        self.busy_s = 0.0
        self._waiting: deque[_WarmUp] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(
        self, units: Iterator[None], future: Future[None], give_up: Callable[[Exception], None]
    ) -> None:
        """Queue the units of a lane, whose end the future tells.

        give_up: removes the lane after an error of a unit, or raises it for the engine to end.
        """
        self._waiting.append(_WarmUp(units, future, give_up))

    def go_on(self) -> None:
        """Run one unit, if any is left."""
        if not self._waiting:
            return
        units, future, give_up = self._waiting[0]
        started_at = perf_counter()
        try:
            next(units)
        except StopIteration:
            self._waiting.popleft()
            settle(future, None)
        except Exception as error:
            self._waiting.popleft()
            settle(future, error)
            give_up(error)
        self.busy_s += perf_counter() - started_at

    def cancel(self, error: Exception) -> None:
        """End all that wait with an error."""
        while self._waiting:
            settle(self._waiting.popleft().future, error)


def settle(future: Future[T], result: T | Exception) -> None:
    """Set a future's result or exception. Has no effect on one that has ended."""
    with contextlib.suppress(InvalidStateError):
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
