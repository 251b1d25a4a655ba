"""`musicgen provenance`: the credentials that sign files."""

import os
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.console import fail
from serve_app.config.provenance import Algorithm
from serve_app.errors import ConfigError
from serve_app.provenance.library import check_installed
from serve_app.provenance.self_signed import make_pair

_FOLDER = Path("provenance")
_OWNER_ONLY = 0o600

provenance = typer.Typer(
    no_args_is_help=True, help="Make the credentials that sign files (C2PA), for trying."
)


@provenance.callback()
def options() -> None:
    """Make the credentials that sign files (C2PA), for trying."""


@provenance.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new files.")] = _FOLDER,
    algorithm: Annotated[Algorithm, typer.Option(help="Signature algorithm.")] = "es256",
    organization: Annotated[
        str, typer.Option(help="Name of the signer, which readers of the files see.")
    ] = "musicgen-serve (test)",
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days of validity.")] = 365,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing files.")] = False,
) -> None:
    """Make a self-signed certificate chain and its private key, for trying.

    Validators do not trust it: files are signed and protected against changes, by a signer whom
    nobody has vouched for. For public use, get a certificate from an authority of the C2PA Trust
    List.
    """
    try:
        check_installed()
    except ConfigError as error:
        fail(error.message)
    files = {name: folder / name for name in ("certificate.pem", "private_key.pem", "root.pem")}
    if not force and (existing := [str(file) for file in files.values() if file.exists()]):
        fail(f"{', '.join(existing)}: exists already. --force overwrites it.", code=2)
    pair = make_pair(algorithm, organization, days)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(
        files.values(), (pair.chain, pair.private_key, pair.root), strict=True
    ):
        _write(file, content)
    print(_report(folder.absolute(), algorithm))


def _write(file: Path, content: bytes) -> None:
    """Write a file that its owner alone may read, from its first byte on."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)


def _report(folder: Path, algorithm: str) -> str:
    return f"""\
{folder}/certificate.pem, private_key.pem, root.pem: for trying only. Validators do NOT trust this
self-signed chain: they show an unknown signer. Put into the configuration, under `args`:

  provenance:
    certificate_file: {folder}/certificate.pem
    private_key_file: {folder}/private_key.pem
    algorithm: {algorithm}

root.pem is for validators of your own: `c2patool FILE trust --trust_anchors root.pem`."""
