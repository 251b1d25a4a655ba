"""`musicgen fetch`: download weights before a replica needs them."""

from typing import Annotated

import typer

from serve_app.cli.console import fail

_PUBLISHED = "facebook/musicgen-"


def fetch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Models: small, medium, large, ..., or hub ids such as me/my-musicgen; "
            "MODEL@REVISION fetches a commit, tag or branch."
        ),
    ],
) -> None:
    """Download models from the hub into the cache of this machine (HF_HOME)."""
    from serve_app.checkpoints.hub import resolve  # imports torch
    from serve_app.errors import CheckpointError

    for source in sources:
        try:
            folder = resolve(_full_name(source))
        except CheckpointError as error:
            fail(str(error))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{source}: {folder} ({size / 1e9:.2f} GB)")


def _full_name(source: str) -> str:
    """Complete the short name of a published model."""
    return source if "/" in source or ":" in source else f"{_PUBLISHED}{source}"
