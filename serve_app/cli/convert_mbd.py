"""`musicgen convert-mbd`: MultiBand Diffusion's published file in a form that a replica reads."""

from pathlib import Path
from typing import Annotated

import typer

from serve_app.checkpoints.diffusion_file import FACTS, WEIGHTS
from serve_app.cli.console import fail
from serve_app.errors import CheckpointError


def convert_mbd(
    source: Annotated[
        Path, typer.Argument(help="MultiBand Diffusion's published file (mbd_musicgen_32khz.th).")
    ],
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Overwrite the files of an earlier conversion.")
    ] = False,
) -> None:
    """Convert MultiBand Diffusion's weights to safetensors and JSON. No code in the file is run."""
    for name in (WEIGHTS, FACTS):
        if (folder / name).exists() and not force:
            fail(f"{folder / name}: exists already. --force overwrites it.", code=2)
    from serve_app.checkpoints.multiband_diffusion import convert  # imports torch

    try:
        facts = convert(source, folder)
    except (CheckpointError, OSError) as error:
        fail(error.message if isinstance(error, CheckpointError) else str(error))
    print(
        f"{folder}: MultiBand Diffusion of {len(facts.bands)} bands at {facts.sample_rate} Hz. The "
        "published weights are licensed CC-BY-NC 4.0: not for commercial use. Put into the model's "
        "configuration:"
    )
    print(f"\n  engine_kwargs:\n    multiband_diffusion_source: {folder.absolute()}")
