"""A gate before the ends of tracks: they wait there while a test does what must happen before they end.

The test's process closes it; replicas find it in a folder that both have in their environment.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
PASSING = "passing"  # prompt of the tracks that the gate lets through
_GATE = FOLDER / "gate"  # each track that waits has a file there
_NO_STARTS = FOLDER / "no-starts"
_POLL_S = 0.02


@contextmanager
def closed_gate() -> Iterator[None]:
    """Let no track end until the block does."""
    _GATE.mkdir()
    try:
        yield
    finally:
        shutil.move(_GATE, gone := tempfile.mkdtemp(dir=FOLDER))
        shutil.rmtree(gone)


@contextmanager
def no_starts() -> Iterator[None]:
    """Let no replica start until the block ends."""
    _NO_STARTS.touch()
    try:
        yield
    finally:
        _NO_STARTS.unlink()


def waiting() -> set[str]:
    """Return the ids of the requests whose tracks wait, or did in a replica that has died."""
    return {file.name for file in _GATE.iterdir()}


async def pass_gate(request_id: str, prompt: str) -> None:
    """Wait, in a replica, while the gate is closed."""
    if prompt == PASSING:
        return
    while _GATE.exists():
        try:
            (_GATE / request_id).touch()
        except FileNotFoundError:  # it opens
            return
        await asyncio.sleep(_POLL_S)


def await_start() -> None:
    """Wait, in a replica's constructor, while no replica may start."""
    while _NO_STARTS.exists():
        time.sleep(_POLL_S)
