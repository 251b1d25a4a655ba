"""Options of commands for files that a track begins with, and whose melody it follows."""

from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.console import fail

Begin = Annotated[
    Path | None,
    typer.Option(help="Audio file that the track begins with; makes the prompt optional."),
]
Melody = Annotated[
    Path | None,
    typer.Option(
        help="Audio file whose melody the track follows, for models that take one; makes the prompt "
        "optional."
    ),
]


def check_prompt(prompt: str, begin: Path | None, melody: Path | None) -> None:
    """Exit where nothing says what to make."""
    if prompt == "" and begin is None and melody is None:
        fail(
            "The prompt is empty: describe the music, or give a file that it begins with (--begin), "
            "or one whose melody it follows (--melody).",
            code=2,
        )
