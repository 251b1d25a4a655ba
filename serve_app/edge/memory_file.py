"""Files without a name that a child process reads by their descriptors."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_app.edge.edge_error import EdgeError

_SHARED_MEMORY = Path("/dev/shm")


def create_memory_file(name: str) -> int:
    """Create a file in memory (memfd_create(2)); return its descriptor.

    Raises OSError where the kernel, a sandbox or Python's build does not have the call.
    """
    create = getattr(os, "memfd_create", None)
    if create is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "memfd_create")
    try:
        descriptor: int = create(name)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "memfd_create") from error
    return descriptor


@contextmanager
def nameless_file(name: str, content: bytes) -> Iterator[int]:
    """Hold `content` in a file that only its descriptor reaches; yield the descriptor.

    The file is in memory; without memfd_create(2) it is an unlinked one of mode 0600 in /dev/shm,
    which is memory as well, or else in the temporary folder. No name is left behind, even if this
    process is killed. Raises EdgeError where none can be written.
    """
    descriptor = _create(name)
    try:
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(content)
        except OSError as error:
            raise _unwritable(error) from error
        yield descriptor
    finally:
        os.close(descriptor)


def _create(name: str) -> int:
    try:
        return create_memory_file(name)
    except OSError:
        pass
    try:
        return _create_unlinked(_SHARED_MEMORY)
    except OSError:
        pass
    try:
        return _create_unlinked(None)
    except OSError as error:
        raise _unwritable(error) from error


def _create_unlinked(folder: Path | None) -> int:
    """Create a file of mode 0600 and take its name away. folder: None: the temporary folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


def _unwritable(error: OSError) -> EdgeError:
    return EdgeError(
        f"The edge cannot write a file for HAProxy: {error.strerror or error}. Allow the system call "
        "memfd_create, or make /dev/shm or the temporary folder (TMPDIR) writable."
    )
