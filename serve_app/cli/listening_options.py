"""Options of the commands that listen for clients."""

from pathlib import Path
from typing import Annotated

import typer

from serve_app.machine import HIGHEST_PORT

Port = Annotated[int, typer.Option(min=1, max=HIGHEST_PORT, help="Port to listen on.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all interfaces.")]
TlsCertificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", help="PEM file with the certificate and its chain, for HTTPS."),
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="PEM file with the certificate's private key.")
]
OpenToAll = Annotated[
    bool, typer.Option("--open", help="Listen beyond this machine without API keys.")
]
