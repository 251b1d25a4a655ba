"""`musicgen provenance`: the marks of files, and what makes them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.console import AsJson, fail
from serve_app.cli.provenance_check import Checked, check_file, describe, exit_status
from serve_app.config.provenance import Algorithm
from serve_app.errors import CheckpointError, ConfigError, ServeAppError
from serve_app.provenance.library import check_installed
from serve_app.provenance.self_signed import make_pair

_FOLDER = Path("provenance")
_OWNER_ONLY = 0o600

provenance = typer.Typer(
    no_args_is_help=True, help="Check the marks of files; make what marks them."
)


@provenance.callback()
def options() -> None:
    """Check the marks of files; make what marks them."""


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


@provenance.command()
def check(
    file: Annotated[Path, typer.Argument(help="Audio file.")],
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="Detached manifest of the file. Default: NAME.c2pa beside a file whose format holds "
            "none."
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="AudioSeal's detector, converted: look for the watermark, too."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Score from which it is detected.")
    ] = 0.5,
    trust_anchors: Annotated[
        Path | None, typer.Option(help="PEM file of certificates whose signers are trusted.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read what the marks of an audio file say: tags, signed manifest (C2PA), watermark.

    The exit status is 0 if a mark says that an AI model generated the audio, 3 if none does, 4 if the
    signed manifest is invalid or damaged, and 5 if no mark says so and the manifest was not checked,
    for want of the extra c2pa. Absent marks prove nothing; tags can be forged.
    """
    try:
        report = check_file(Checked(file, manifest, trust_anchors, detector, threshold))
    except (ServeAppError, OSError) as error:
        fail(error.message if isinstance(error, ServeAppError) else str(error))
    print(report.model_dump_json() if as_json else describe(report))
    raise typer.Exit(exit_status(report))


@provenance.command("convert-watermark")
def convert_watermark(
    file: Annotated[Path, typer.Argument(help="AudioSeal's published file (.pth).")],
    out: Annotated[Path, typer.Argument(help="New file (.safetensors).")],
    causal: Annotated[
        bool | None,
        typer.Option(
            "--causal/--no-causal",
            help="Variant of a file that does not tell it: *_streaming.pth is causal.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Overwrite an existing file.")
    ] = False,
) -> None:
    """Convert AudioSeal's generator or detector to safetensors. No code in the file is run."""
    if out.exists() and not force:
        fail(f"{out}: exists already. --force overwrites it.", code=2)
    from serve_app.checkpoints.audioseal import convert  # imports torch

    try:
        facts = convert(file, out, causal)
    except (CheckpointError, OSError) as error:
        fail(error.message if isinstance(error, CheckpointError) else str(error))
    variant = "for streams" if facts.causal else "base"
    print(
        f"{out}: AudioSeal's {facts.network} ({variant}). Under `args`, put into the configuration:"
    )
    print(f"\n  provenance:\n    watermark:\n      {facts.network}_file: {out.absolute()}")


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
