"""`musicgen edge`: the edge alone, for clusters."""

import signal
import sys
import time
from typing import Annotated, Any

import typer

from serve_app.cli.console import fail
from serve_app.cli.listening_options import Host, OpenToAll, Port, TlsCertificate, TlsKey
from serve_app.config.files import find_config
from serve_app.config.serve_file import ServeConfigError, read_serve_config
from serve_app.edge.edge import open_edge
from serve_app.edge.edge_error import EdgeEnded, EdgeError
from serve_app.edge.haproxy import Address
from serve_app.edge.process import EdgeProcess
from serve_app.edge.restarts import Restarts
from serve_app.errors import ConfigError
from serve_app.launch.error import CONFIGURATION, OTHER, LaunchError
from serve_app.launcher import tls_files
from serve_app.machine import HIGHEST_PORT, is_port

_POLL_S = 0.5


def edge(
    config: Annotated[str, typer.Argument(help="The Serve configuration that the cluster runs.")],
    port: Port = 8100,
    host: Host = "127.0.0.1",
    upstream: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of Serve's proxy. Default: `http_options` of the file."),
    ] = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    open_to_all: OpenToAll = False,
    drain: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds for requests under way to end after SIGTERM. Default: they break off.",
        ),
    ] = 0.0,
) -> None:
    """Run the edge (HAProxy) in front of a Serve proxy of this node, until Ctrl-C or SIGTERM.

    Its limits are `edge` in the configuration's `args`.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job ignores it
    try:
        content = read_serve_config(find_config(config))
        tls = tls_files(tls_cert, tls_key)
        address = Address(host, port)
        to = _upstream(content, upstream)
        with open_edge(content, address, to, tls, open_to_all) as running:
            _run(running, drain, f"The edge listens on {address} and passes requests to {to}.")
    except ConfigError as error:
        fail(f"{config}: {error.message}", CONFIGURATION)
    except EdgeEnded as error:
        fail(str(error), OTHER)
    except (EdgeError, LaunchError, ServeConfigError) as error:
        fail(str(error), CONFIGURATION)
    except KeyboardInterrupt:
        print("\nStopped.")


def _run(running: EdgeProcess, drain_s: float, ready: str) -> None:
    """Watch the edge until a signal; after SIGTERM let it drain. A second signal ends the drain.

    ready: printed once SIGTERM lets the edge drain.
    """
    try:
        print(ready, flush=True)
        restarts = Restarts(running)
        while True:
            restarts.check()
            time.sleep(_POLL_S)
    except SystemExit:
        if drain_s:
            running.drain(drain_s)
        raise


def _upstream(content: dict[str, Any], given: str | None) -> Address:
    """Take the address of Serve's proxy from the option, else from the file. Raises EdgeError."""
    options = content.get("http_options") or {}
    default = f"{options.get('host', '127.0.0.1')}:{options.get('port', 8000)}"
    host, _, port = (given or default).rpartition(":")
    if not host or not is_port(port):
        raise EdgeError(
            f"--upstream is HOST:PORT with a port of 1 to {HIGHEST_PORT}, not {given or default!r}."
        )
    return Address("127.0.0.1" if host == "0.0.0.0" else host.strip("[]"), int(port))
