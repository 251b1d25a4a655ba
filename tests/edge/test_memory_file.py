"""Files without a name, also on systems without memfd_create."""

import errno
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from serve_app.edge import memory_file, parser_replies
from serve_app.edge.edge_error import EdgeError
from serve_app.edge.memory_file import create_memory_file, nameless_file
from tests.edge.conftest import StartEdge, exchange

Patch = pytest.MonkeyPatch


def refuse(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def no_call(patch: Patch) -> None:
    """As under a sandbox's filter of system calls."""
    patch.setattr(os, "memfd_create", refuse)


def no_function(patch: Patch) -> None:
    """As in a Python that was built for an older C library."""
    patch.delattr(os, "memfd_create")


def no_shared_memory(patch: Patch) -> None:
    no_call(patch)
    patch.setattr(memory_file, "_SHARED_MEMORY", Path("/nowhere"))


@pytest.mark.parametrize("lack", [lambda _: None, no_call, no_function, no_shared_memory])
def test_its_content_is_read_by_the_descriptor_alone(
    lack: Callable[[Patch], None], monkeypatch: Patch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lack(monkeypatch)
    with nameless_file("secret", b"content") as descriptor:
        file = Path(f"/proc/self/fd/{descriptor}")
        assert file.read_bytes() == file.read_bytes() == b"content"
        status = os.fstat(descriptor)
        assert status.st_nlink == 0
        assert lack not in (no_call, no_function, no_shared_memory) or (
            stat.S_IMODE(status.st_mode) == 0o600
        )
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_nowhere_to_write_is_said(monkeypatch: Patch) -> None:
    no_shared_memory(monkeypatch)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(EdgeError, match=r"not implemented\. Allow the system call memfd_create"):
        nameless_file("a", b"").__enter__()


def test_the_missing_call_is_named(monkeypatch: Patch) -> None:
    for lack in (no_call, no_function):
        lack(monkeypatch)
        with pytest.raises(OSError, match="Function not implemented: 'memfd_create'"):
            create_memory_file("a")


@pytest.mark.parametrize("lack", [no_call, no_function, no_shared_memory])
def test_an_edge_runs_without_it(
    lack: Callable[[Patch], None],
    start_edge: StartEdge,
    monkeypatch: Patch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lack(monkeypatch)
    with caplog.at_level(logging.WARNING, parser_replies.logger.name):
        address = start_edge()
    assert "HAProxy's own answer, in HTML: [Errno 38]" in caplog.text
    assert "memfd_create" in caplog.text
    assert exchange(address, b"GET / HTTP/1.0\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
