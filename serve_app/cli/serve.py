"""`musicgen serve`: serve on this machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.console import fail
from serve_app.cli.listening_options import Host, OpenToAll, Port, TlsCertificate, TlsKey
from serve_app.config.adapter import AdapterSource
from serve_app.launch.error import CONFIGURATION, LaunchError
from serve_app.launch.progress import ProgressLine
from serve_app.launch.target import TARGET_HELP, Target, find_target
from serve_app.launcher import Service, tls_files

NANO = "nano"
Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL|CONFIG", help=f"{TARGET_HELP} Default: {NANO}."),
]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="SOURCE[=WEIGHT]",
        help="LoRA adapter to merge into the model: folder or hub id. May be given several times.",
    ),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the configuration as YAML, and exit.")
]


def serve(
    model: Targets = None,
    port: Port = 8000,
    host: Host = "127.0.0.1",
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
    open_to_all: OpenToAll = False,
    adapter: Adapters = None,
    print_config: PrintConfig = False,
) -> None:
    """Serve on this machine, with a Ray instance of its own, until Ctrl-C.

    For a model it writes a configuration: on the GPU where there is one, else on the CPU.
    `--print-config > mine.yaml` saves it for changes. On a cluster, use `serve run` or `serve
    deploy`, and `musicgen edge` in front of it.
    """
    progress = ProgressLine()
    try:
        target = find_target(_only(model or [NANO]), [_adapter(text) for text in adapter or ()])
        if print_config:
            _print(target)
            return
        with (
            target.as_file() as file,
            Service(
                file,
                port,
                progress,
                output=sys.stdout,
                host=host,
                tls=tls_files(tls_cert, tls_key),
                open_to_all=open_to_all,
            ) as service,
        ):
            print(f"{service.url}  API: {service.url}/docs", flush=True)
            service.wait()
    except LaunchError as error:
        progress.end()
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        print("\nStopped.")


def _only(names: list[str]) -> str:
    if len(names) > 1:
        raise LaunchError(
            f"serve takes one model or one configuration, but got {len(names)}: {', '.join(names)}. "
            "A configuration may hold several models: see configs/all.yaml.",
            CONFIGURATION,
        )
    return names[0]


def _adapter(text: str) -> AdapterSource:
    """Parse SOURCE or SOURCE=WEIGHT; a folder of that name comes first."""
    source, separator, weight = text.rpartition("=")
    if not separator or Path(text).is_dir():
        return AdapterSource(source=_absolute(text))
    try:
        return AdapterSource(source=_absolute(source), weight=float(weight))
    except ValueError:
        raise LaunchError(
            f"--adapter is SOURCE or SOURCE=WEIGHT with a finite number, not {text!r}.",
            CONFIGURATION,
        ) from None


def _absolute(source: str) -> str:
    """The absolute path of a folder; any other text is a hub id."""
    folder = Path(source).expanduser()
    return str(folder.resolve()) if folder.is_dir() else source


def _print(target: Target) -> None:
    """Print the configuration. Raises LaunchError for a file that is not there."""
    if not target.text:
        raise LaunchError(f"{target.file}: there is no such file.", CONFIGURATION)
    print(target.text, end="")
