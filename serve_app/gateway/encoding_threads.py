"""Threads that encode audio, beside the event loop of their process.

FFmpeg's encoders hold no GIL, so one ingress replica encodes on as many cores as it may use. The
threads have a name of their own, by which `top -H` and benchmarks/service.py tell their CPU time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from pathlib import Path
from threading import get_native_id
from typing import ParamSpec, TypeVar

from serve_app.cpus import usable_cpus

THREAD_NAME = "encoder"

P = ParamSpec("P")
R = TypeVar("R")


async def in_encoding_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `work` in one of the threads, in the context of the caller."""
    call = partial(copy_context().run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads(), call)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        usable_cpus(), thread_name_prefix=THREAD_NAME, initializer=_name_thread
    )


def _name_thread() -> None:
    """Give this thread its name in Linux: Python 3.11 names its own objects only."""
    with suppress(OSError):
        Path(f"/proc/self/task/{get_native_id()}/comm").write_text(THREAD_NAME)
