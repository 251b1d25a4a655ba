"""`musicgen serve`: serve on this machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.console import fail
from serve_app.launch_progress import ProgressLine
from serve_app.launcher import LaunchError, Service

NANO = Path(__file__).parents[2] / "configs" / "nano.yaml"


def serve(
    config: Annotated[Path, typer.Argument(help="A Serve configuration file.")] = NANO,
    port: Annotated[int, typer.Option(help="HTTP port.")] = 8000,
) -> None:
    """Serve on this machine, with a Ray instance of its own, until Ctrl-C.

    On a cluster, use `serve run` or `serve deploy`.
    """
    try:
        with Service(config, port, ProgressLine(), output=sys.stdout) as service:
            print(f"{service.url}  API: {service.url}/docs", flush=True)
            service.wait()
    except LaunchError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("\nStopped.")
