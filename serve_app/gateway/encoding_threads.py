"""Threads that encode audio, beside the event loop of their process.

FFmpeg's encoders hold no GIL, so one ingress replica encodes on as many cores as it may use. The
threads have a name of their own, by which `top -H` and benchmarks/service.py tell their CPU time.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from pathlib import Path
from threading import get_native_id
from typing import ParamSpec, TypeVar

THREAD_NAME = "encoder"

P = ParamSpec("P")
R = TypeVar("R")


async def in_encoding_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `work` in one of the threads, in the context of the caller."""
    call = partial(copy_context().run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads(), call)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), thread_name_prefix=THREAD_NAME, initializer=_name_thread)


def _cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _name_thread() -> None:
    """Give this thread its name in Linux: Python 3.11 names its own objects only."""
    with suppress(OSError):
        Path(f"/proc/self/task/{get_native_id()}/comm").write_text(THREAD_NAME)
