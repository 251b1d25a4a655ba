"""`musicgen serve`: serve on this machine."""

import sys
from typing import Annotated

import typer

from serve_app.cli.console import fail
from serve_app.cli.listening_options import Host, OpenToAll, Port, TlsCertificate, TlsKey
from serve_app.config.files import CONFIG_HELP, find_config
from serve_app.launch.error import LaunchError
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service, tls_files

NANO = "nano"


def serve(
    config: Annotated[str, typer.Argument(help=CONFIG_HELP)] = NANO,
    port: Port = 8000,
    host: Host = "127.0.0.1",
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    open_to_all: OpenToAll = False,
) -> None:
    """Serve on this machine, with a Ray instance of its own, until Ctrl-C.

    On a cluster, use `serve run` or `serve deploy`, and `musicgen edge` in front of it.
    """
    progress = ProgressLine()
    try:
        with Service(
            find_config(config),
            port,
            progress,
            output=sys.stdout,
            host=host,
            tls=tls_files(tls_cert, tls_key),
            open_to_all=open_to_all,
        ) as service:
            print(f"{service.url}  API: {service.url}/docs", flush=True)
            service.wait()
    except LaunchError as error:
        progress.end()
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        print("\nStopped.")
