"""A Serve configuration on a Ray instance of its own on this machine, without leftover processes.

    python -m serve_app.launcher configs/nano.yaml --port 8000

Runs `serve run`, as on any cluster, behind an edge that limits what clients send; waits until the
application is RUNNING, and stops it on Ctrl-C.
Ray requires a token (`serve_app.ray_token`), and its ports are on the loopback interface, except
the gRPC server of each Serve replica.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

import psutil
import yaml

from serve_app.child_process import start_child
from serve_app.edge.edge import Tls, open_edge
from serve_app.edge.haproxy import Address
from serve_app.edge.process import EdgeError, EdgeProcess
from serve_app.launch_progress import ProgressLine, replica_counts
from serve_app.machine import NEEDED_MEMORY_GIB, free_memory_gib, free_port
from serve_app.ray_token import RayToken, TokenError, find_or_create_token
from serve_app.serve_config import ServeConfigError, read_serve_config

Progress = Callable[[float, str], None]  # elapsed seconds, state

_START_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.5
_LOOPBACK = "127.0.0.1"
_ALL_INTERFACES = ("0.0.0.0", "::")
_DASHBOARD = re.compile(r"View the dashboard at \S*?(http://[\d.]+:\d+)")
_ENVIRONMENT = {
    "RAY_ADDRESS": "local",  # not a cluster that the shell's environment names
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # one machine only: Ray binds to the loopback interface
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this virtual environment
}


class LaunchError(Exception):
    """Failure to start or run the service. The message names the remedy."""


class Service:
    """Process `serve run` of one configuration, as a context manager.

    Entering waits until the application is RUNNING; leaving waits until all processes have ended.
    Raises LaunchError. progress: called with the elapsed seconds and the state;
    output: stream that `wait` copies the output of `serve run` to, or None;
    tls: certificate and key, for HTTPS; open_to_all: listen beyond this machine without API keys.
    """

    def __init__(
        self,
        config: Path,
        port: int,
        progress: Progress,
        output: IO[str] | None = None,
        *,
        host: str = _LOOPBACK,
        tls: Tls | None = None,
        open_to_all: bool = False,
    ) -> None:
        self.config = config
        self.address = Address(host, port)
        self.upstream = Address(_LOOPBACK, free_port())
        self._tls = tls
        self._open_to_all = open_to_all
        self._edge: EdgeProcess | None = None
        self._resources = ExitStack()
        self._progress = progress
        self._echo = output
        self._folder = Path()
        self._process: subprocess.Popen[str] | None = None
        self._token: RayToken | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        host, port = self.address
        return f"{scheme}://{Address(_LOOPBACK if host in _ALL_INTERFACES else host, port)}"

    @property
    def log(self) -> str:
        """Output of `serve run` so far."""
        log = self._file("serve.log")
        return log.read_text(errors="replace") if log.exists() else ""

    @property
    def dashboard_url(self) -> str | None:
        """URL of Ray's dashboard, None until Ray has printed it."""
        found = _DASHBOARD.search(self.log)
        return found[1] if found else None

    def __enter__(self) -> Self:
        content = _with_address(self.config, self.upstream)
        _check_memory()
        try:
            self._token = find_or_create_token()
        except TokenError as error:
            raise LaunchError(str(error)) from error
        try:
            self._folder = Path(
                self._resources.enter_context(tempfile.TemporaryDirectory(prefix="musicgen-serve-"))
            )
            self._edge = self._resources.enter_context(
                open_edge(content, self.address, self.upstream, self._tls, self._open_to_all)
            )
            self._start(content, self._token)
            self._wait_until_running()
        except EdgeError as error:
            self.stop()
            raise LaunchError(str(error)) from error
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """List `serve run` and its descendants."""
        if self._process is None:
            return []
        try:
            process = psutil.Process(self._process.pid)
        except psutil.NoSuchProcess:
            return []
        return [process, *process.children(recursive=True)]

    def wait(self) -> None:
        """Copy the output of `serve run` until Ctrl-C. Raises LaunchError if it ends by itself."""
        with self._file("serve.log").open(errors="replace") as log:
            while self._process is not None and self._process.poll() is None:
                if self._echo is not None:
                    self._echo.write(log.read())
                    self._echo.flush()
                if self._edge is not None and self._edge.ended():
                    self._edge.restart()
                time.sleep(_POLL_S)
        raise LaunchError("`serve run` has ended by itself. Its last lines give the cause.")

    def stop(self) -> None:
        """End `serve run` and its descendants."""
        processes = self.processes()
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        _, alive = psutil.wait_procs(processes, timeout=_STOP_TIMEOUT_S)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive)
        self._resources.close()

    def _file(self, name: str) -> Path:
        return self._folder / name

    def _start(self, content: dict[str, Any], token: RayToken) -> None:
        config = self._file("config.yaml")
        config.write_text(yaml.safe_dump(content))
        # A child inherits an ignored signal, and background shells ignore SIGINT; a handled one
        # is reset to its default in the child.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with self._file("serve.log").open("w") as log:
            self._process = start_child(
                [str(Path(sys.executable).parent / "serve"), "run", str(config)],
                signal.SIGINT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | _ENVIRONMENT | token.environment,
                start_new_session=True,
            )

    def _wait_until_running(self) -> None:
        started_at = time.monotonic()
        while (elapsed := time.monotonic() - started_at) < _START_TIMEOUT_S:
            application = self.application()
            status = application.get("status", "starting Ray")
            self._progress(elapsed, f"{status}  {replica_counts(application)}")
            if status == "RUNNING":
                return
            if status == "DEPLOY_FAILED":
                raise LaunchError(
                    f"The application could not be deployed:\n{application.get('message')}"
                )
            if self._process is None or self._process.poll() is not None:
                raise LaunchError(f"`serve run` has ended:\n{self.log[-3000:]}")
            time.sleep(_POLL_S)
        raise LaunchError(
            f"Not RUNNING after {_START_TIMEOUT_S:.0f} s. The end of the log:\n{self.log[-3000:]}"
        )

    def application(self) -> dict[str, Any]:
        """Read the application's state from Ray's dashboard; empty while that is unavailable."""
        if self.dashboard_url is None or self._token is None:
            return {}
        request = urllib.request.Request(
            f"{self.dashboard_url}/api/serve/applications/", headers=self._token.headers
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                applications: dict[str, dict[str, Any]] = json.load(answer)["applications"]
        except (OSError, ValueError, KeyError):
            return {}
        return next(iter(applications.values()), {})


def _with_address(config: Path, address: Address) -> dict[str, Any]:
    """Read the configuration and make Serve listen on `address`. Raises LaunchError."""
    try:
        content = read_serve_config(config)
    except ServeConfigError as error:
        raise LaunchError(str(error)) from error
    content["http_options"] = (content.get("http_options") or {}) | address._asdict()
    return content


def _check_memory() -> None:
    if (free := free_memory_gib()) < NEEDED_MEMORY_GIB:
        raise LaunchError(
            f"Only {free:.1f} GiB of memory are free, and Ray with one small replica needs about "
            f"{NEEDED_MEMORY_GIB:.0f} GiB. Close other programs and try again."
        )


def tls_files(certificate: Path | None, key: Path | None) -> Tls | None:
    """Pair the files of `--tls-cert` and `--tls-key`. Raises LaunchError for one without the other."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise LaunchError("HTTPS needs both --tls-cert and --tls-key.")
    return Tls(certificate, key)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.launcher", description="Serve on this machine until Ctrl-C."
    )
    parser.add_argument("config", type=Path, help="Serve configuration, e.g. configs/nano.yaml")
    parser.add_argument("--port", type=int, default=8000, help="HTTP port (default: 8000)")
    parser.add_argument("--host", default=_LOOPBACK, help="address to listen on; 0.0.0.0: all")
    parser.add_argument("--tls-cert", type=Path, help="PEM file with the certificate and its chain")
    parser.add_argument("--tls-key", type=Path, help="PEM file with the certificate's private key")
    parser.add_argument(
        "--open", action="store_true", help="listen beyond this machine without API keys"
    )
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"Starting {arguments.config} (Ctrl-C stops it)", flush=True)
    try:
        with Service(
            arguments.config,
            arguments.port,
            ProgressLine(),
            output=sys.stdout,
            host=arguments.host,
            tls=tls_files(arguments.tls_cert, arguments.tls_key),
            open_to_all=arguments.open,
        ) as service:
            addresses = f"{service.url}  API: {service.url}/docs  Ray: {service.dashboard_url}"
            print(addresses, flush=True)
            service.wait()
    except LaunchError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
