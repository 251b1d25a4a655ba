"""A Serve configuration on a Ray instance of its own on this machine, without leftover processes.

    python -m serve_app.launcher configs/nano.yaml --port 8000

Runs `serve run`, as on any cluster, behind an edge that limits what clients send; waits until the
application is RUNNING, and stops it on Ctrl-C.
Ray requires a token (`serve_app.ray_token`), and its ports are on the loopback interface, except
the gRPC server of each Serve replica.
"""

import argparse
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

import psutil

from serve_app.config.files import find_config
from serve_app.config.serve_file import ServeConfigError, read_serve_config
from serve_app.edge.edge import open_edge
from serve_app.edge.edge_error import EdgeError
from serve_app.edge.haproxy import Address
from serve_app.edge.process import EdgeProcess
from serve_app.edge.restarts import Restarts
from serve_app.edge.tls import Tls
from serve_app.errors import ConfigError
from serve_app.launch import preflight
from serve_app.launch.error import CONFIGURATION, LaunchError
from serve_app.launch.progress import ProgressLine
from serve_app.launch.serve_process import POLL_S, STOP_TIMEOUT_S, Progress, ServeProcess
from serve_app.machine import HIGHEST_PORT, free_port, is_port
from serve_app.ray_token import RayToken, TokenError, find_or_create_token

_ABORT_TIMEOUT_S = 2.0  # of a start that failed: Serve would wait for replicas that it cannot place
_LOOPBACK = "127.0.0.1"
_ALL_INTERFACES = ("0.0.0.0", "::")


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
        self._serve: ServeProcess | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        host, port = self.address
        return f"{scheme}://{Address(_LOOPBACK if host in _ALL_INTERFACES else host, port)}"

    @property
    def log(self) -> str:
        """Output of `serve run` so far."""
        return self._serve.log if self._serve is not None else ""

    @property
    def dashboard_url(self) -> str | None:
        """URL of Ray's dashboard, None until Ray has printed it."""
        return self._serve.dashboard_url if self._serve is not None else None

    @property
    def ray_environment(self) -> dict[str, str]:
        """Variables for programs that connect to its Ray; set them before Ray is imported."""
        return self._serve.environment if self._serve is not None else {}

    def __enter__(self) -> Self:
        content = _with_address(self.config, self.upstream)
        preflight.check(self.config, content, *self.address)
        token = _find_token()
        try:
            folder = tempfile.TemporaryDirectory(prefix="musicgen-serve-")
            path = Path(self._resources.enter_context(folder))
            self._edge = self._resources.enter_context(
                open_edge(content, self.address, self.upstream, self._tls, self._open_to_all)
            )
            self._serve = ServeProcess(content, token, path)
            self._serve.wait_until_running(self._progress)
        except (EdgeError, ConfigError) as error:
            self.stop(_ABORT_TIMEOUT_S)
            raise LaunchError(str(error), CONFIGURATION) from error
        except LaunchError:
            self.stop(_ABORT_TIMEOUT_S)
            raise
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """List `serve run` and its descendants."""
        return self._serve.processes() if self._serve is not None else []

    def application(self) -> dict[str, Any]:
        """Read the application's state from Ray's dashboard; empty while that is unavailable."""
        return self._serve.application() if self._serve is not None else {}

    def wait(self) -> None:
        """Copy the output of `serve run` until Ctrl-C.

        Raises LaunchError if it ends by itself, and if the edge ends again and again.
        """
        restarts = Restarts(self._edge) if self._edge is not None else None
        if self._serve is not None:
            with self._serve.log_file.open(errors="replace") as log:
                while not self._serve.ended():
                    self._copy(log)
                    if restarts is not None:
                        _check(restarts)
                    time.sleep(POLL_S)
                self._copy(log)
        raise LaunchError("`serve run` has ended by itself. Its last lines give the cause.")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End `serve run` and its descendants, by force after `timeout_s`, and the edge."""
        if self._serve is not None:
            self._serve.stop(timeout_s)
            self._serve = None
        self._resources.close()

    def _copy(self, log: IO[str]) -> None:
        if self._echo is not None:
            self._echo.write(log.read())
            self._echo.flush()


def _check(restarts: Restarts) -> None:
    try:
        restarts.check()
    except EdgeError as error:
        raise LaunchError(str(error)) from error


def _find_token() -> RayToken:
    try:
        return find_or_create_token()
    except TokenError as error:
        raise LaunchError(str(error)) from error


def _with_address(config: Path, address: Address) -> dict[str, Any]:
    """Read the configuration and make Serve listen on `address`. Raises LaunchError."""
    try:
        content = read_serve_config(config)
    except ServeConfigError as error:
        raise LaunchError(str(error), CONFIGURATION) from error
    content["http_options"] = (content.get("http_options") or {}) | address._asdict()
    return content


def tls_files(certificate: Path | None, key: Path | None) -> Tls | None:
    """Pair the files of `--tls-cert` and `--tls-key`. Raises LaunchError for one without the other."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise LaunchError("HTTPS needs both --tls-cert and --tls-key.", CONFIGURATION)
    return Tls(certificate, key)


def _port(text: str) -> int:
    """Parse `--port`. Raises ArgumentTypeError."""
    if not is_port(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to {HIGHEST_PORT}")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.launcher", description="Serve on this machine until Ctrl-C."
    )
    parser.add_argument("config", type=find_config, help="nano, small, ..., or a Serve YAML file")
    parser.add_argument("--port", type=_port, default=8000, help="HTTP port (default: 8000)")
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
    progress = ProgressLine()
    print(f"Starting {arguments.config} (Ctrl-C stops it)", flush=True)
    try:
        with Service(
            arguments.config,
            arguments.port,
            progress,
            output=sys.stdout,
            host=arguments.host,
            tls=tls_files(arguments.tls_cert, arguments.tls_key),
            open_to_all=arguments.open,
        ) as service:
            addresses = f"{service.url}  API: {service.url}/docs  Ray: {service.dashboard_url}"
            print(addresses, flush=True)
            service.wait()
    except LaunchError as error:
        progress.end()
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
