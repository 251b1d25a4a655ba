"""Guard of a replica that stands still: its process ends, so that Serve replaces it, and its GPU is free."""

import asyncio
import faulthandler
import sys
from collections.abc import Callable

from ray import serve
from ray.serve.exceptions import RayServeException

LIMIT_S = 60.0  # longer than any pause of a healthy process on a busy machine
_PERIODS = 12  # in it: the process ends after 11 to 12 of them


class HangGuard:
    """Ends this process once its event loop has stood still for LIMIT_S, or `works` has been false as long.

    A thread of `faulthandler` does it, which needs no lock of the interpreter: it writes the stacks of
    all threads to stderr and exits with code 1. Serve's own checks would start another replica, but
    leave this one its requests and its GPU for `graceful_shutdown_timeout_s`. A process has one guard.
    """

    def __init__(self, works: Callable[[], bool] = lambda: True) -> None:
        self._works = works

    async def run(self) -> None:
        """Watch until cancelled."""
        _give_time()
        try:
            while True:
                await asyncio.sleep(LIMIT_S / _PERIODS)
                if self._works():
                    _give_time()
        finally:
            faulthandler.cancel_dump_traceback_later()


def guard_replica(works: Callable[[], bool] = lambda: True) -> asyncio.Future[None] | None:
    """Guard this process, if it is a replica of Serve's, from its event loop. Keep what it returns."""
    try:
        serve.get_replica_context()
    except RayServeException:
        return None
    return asyncio.ensure_future(HangGuard(works).run())


def _give_time() -> None:
    """Let the process end LIMIT_S from now on, and not before."""
    faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=_stderr())


def _stderr() -> int:
    """The process's own stderr, which Ray collects; loggers may stand in for `sys.stderr`."""
    return 2 if sys.__stderr__ is None else sys.__stderr__.fileno()
