"""`serve run` as a child process with a Ray of its own, watched until the application is RUNNING."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from serve_app.child_process import start_child
from serve_app.launch import start_watch
from serve_app.launch.error import LaunchError
from serve_app.launch.progress import replica_counts
from serve_app.launch.ray_dashboard import RayDashboard
from serve_app.launch.root_error import last_error, strip_ansi
from serve_app.ray_token import RayToken

Progress = Callable[[float, str], None]  # elapsed seconds, state

STOP_TIMEOUT_S = 30.0
POLL_S = 0.5
_START_TIMEOUT_S = 600.0
_TAIL_LINES = 8
_DASHBOARD = re.compile(r"View the dashboard at \S*?(http://[\d.]+:\d+)")
ENVIRONMENT = {
    "RAY_ADDRESS": "local",  # not a cluster that the shell's environment names
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # one machine only: Ray binds to the loopback interface
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this virtual environment
    "RUNTIME_ENV_RETRY_TIMES": "1",  # a failed installation is said at once: pip tries again itself
    # Threads share heaps: with one for each, freed blocks of audio stay in all of them.
    "MALLOC_ARENA_MAX": "2",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.deployments.proxy_guard:middleware",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "5",  # Serve replaces a proxy after three failed checks
}


class ServeProcess:
    """The process of one configuration.

    content: the configuration; token: Ray's; folder: for the configuration and the log.
    environment: variables of its Ray, for programs that connect to it; set them before Ray's import.
    """

    def __init__(self, content: dict[str, Any], token: RayToken, folder: Path) -> None:
        self.log_file = folder / "serve.log"
        self.environment = ENVIRONMENT | token.environment
        self._token = token
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(content))
        # A child inherits an ignored signal, and background shells ignore SIGINT; a handled one
        # is reset to its default in the child.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with self.log_file.open("w") as log:
            self._process = start_child(
                [str(Path(sys.executable).parent / "serve"), "run", str(config)],
                signal.SIGINT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """Output so far."""
        return self.log_file.read_text(errors="replace")

    @property
    def dashboard_url(self) -> str | None:
        """URL of Ray's dashboard, None until Ray has printed it."""
        found = _DASHBOARD.search(self.log)
        return found[1] if found else None

    def ended(self) -> bool:
        return self._process.poll() is not None

    def processes(self) -> list[psutil.Process]:
        """List `serve run` and its descendants."""
        try:
            process = psutil.Process(self._process.pid)
        except psutil.NoSuchProcess:
            return []
        return [process, *process.children(recursive=True)]

    def application(self) -> dict[str, Any]:
        """Read the application's state from Ray's dashboard; empty while that is unavailable."""
        dashboard = self._dashboard()
        return dashboard.application() if dashboard is not None else {}

    def wait_until_running(self, progress: Progress) -> None:
        """Wait for the application. Raises LaunchError as soon as Ray knows that it will not run."""
        started_at = time.monotonic()
        while (elapsed := time.monotonic() - started_at) < _START_TIMEOUT_S:
            application = self.application()
            status = application.get("status", "starting Ray")
            doing = replica_counts(application) or start_watch.activity(application)
            progress(elapsed, f"{status}  {doing}".rstrip())
            if status == "RUNNING":
                return
            self._check(application)
            time.sleep(POLL_S)
        raise LaunchError(f"Not RUNNING after {_START_TIMEOUT_S:.0f} s.\n{self._tail()}")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End `serve run` and its descendants, by force after `timeout_s`."""
        processes = self.processes()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, alive = psutil.wait_procs(processes, timeout=timeout_s)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                process.kill()
        psutil.wait_procs(alive)

    def _check(self, application: dict[str, Any]) -> None:
        dashboard = self._dashboard()
        nodes = dashboard.nodes() if application and dashboard is not None else []
        if reason := start_watch.failure(application, nodes):
            raise LaunchError(reason)
        if self.ended():
            raise LaunchError(f"`serve run` has ended: {last_error(self.log) or self._tail()}")

    def _tail(self) -> str:
        """Last lines of the log."""
        return "\n".join(strip_ansi(self.log).splitlines()[-_TAIL_LINES:])

    def _dashboard(self) -> RayDashboard | None:
        url = self.dashboard_url
        return RayDashboard(url, self._token.headers) if url is not None else None
