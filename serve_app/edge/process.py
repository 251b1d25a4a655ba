"""HAProxy as a child process that serves a socket of this process."""

import re
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from serve_app.child_process import start_child
from serve_app.edge.edge_error import EdgeError
from serve_app.edge.memory_file import nameless_file
from serve_app.edge.output_tail import OutputTail
from serve_app.edge.parser_replies import Program, haproxy

_STOP_TIMEOUT_S = 5.0
_ALERT = re.compile(r"^\[ALERT\].*?parsing \[[^\]]*\] : (.*)$", re.MULTILINE)


class EdgeProcess:
    """HAProxy behind a listening socket, as a context manager. It ends with this process.

    The socket outlives HAProxy, so connections wait while `restart` replaces it. The configuration
    has no name in any folder: nothing is left behind, even if this process is killed.
    listener: bound and listening; owned by the caller; render: writes the configuration for a `bind`
    address; descriptors: further files that HAProxy reads as /proc/self/fd/N.
    """

    def __init__(
        self,
        listener: socket.socket,
        render: Callable[[str], str],
        descriptors: Sequence[int] = (),
    ) -> None:
        self._listener = listener
        bind = listener.fileno()
        self._content = render(f"fd@{bind}")
        self._descriptors = (bind, *descriptors)
        self._process: subprocess.Popen[str] | None = None
        self._output: OutputTail | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The running HAProxy. Raises EdgeError outside of the context."""
        if self._process is None:
            raise EdgeError("The edge is not running.")
        return self._process

    def __enter__(self) -> Self:
        self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def ending(self) -> str:
        """Describe how HAProxy ended: its status or signal, and its last output."""
        status = self.process.wait()
        how = f"by {_signal_name(-status)}" if status < 0 else f"with status {status}"
        output = self._output.text() if self._output is not None else ""
        return f"HAProxy has ended {how}; its last output: {output or 'none'}."

    def restart(self) -> None:
        """Start HAProxy, after ending the one that runs. Raises EdgeError if it refuses."""
        self._stop()
        with nameless_file("haproxy.cfg", self._content.encode()) as configuration:
            try:
                with haproxy() as program:
                    self._start(program, configuration)
            except OSError as error:
                raise EdgeError(f"HAProxy cannot be started: {error}") from error

    def drain(self, timeout_s: float) -> None:
        """Refuse new connections; wait until the requests under way have ended, at most `timeout_s`.

        The edge cannot be restarted afterwards: its listening socket is closed.
        """
        self._listener.close()
        self.process.send_signal(signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)

    def _start(self, program: Program, configuration: int) -> None:
        command = ["haproxy", "-db", "-f", f"/proc/self/fd/{configuration}"]
        descriptors = (*self._descriptors, *program.descriptors, configuration)
        checked = subprocess.run(
            [*command, "-c"],
            capture_output=True,
            text=True,
            check=False,
            executable=program.path,
            pass_fds=descriptors,
            env=program.environment,
            stdin=subprocess.DEVNULL,
        )
        if checked.returncode != 0:
            reasons = _ALERT.findall(checked.stderr) or [checked.stderr.strip()]
            raise EdgeError(f"HAProxy refuses its configuration: {'; '.join(reasons)}")
        self._process = start_child(
            command,
            signal.SIGTERM,
            executable=program.path,
            pass_fds=descriptors,
            env=program.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            start_new_session=True,  # Ctrl-C in a terminal reaches the parent only
        )
        if self._process.stdout is not None:
            self._output = OutputTail(self._process.stdout)

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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
