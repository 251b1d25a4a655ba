"""Output on the terminal: results on stdout, progress and errors on stderr."""

from typing import Annotated, NoReturn

import typer
from rich.console import Console

stderr = Console(stderr=True, highlight=False)

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as one line of JSON, for programs.")
]


def fail(message: str, code: int = 1) -> NoReturn:
    """Print one line on stderr and exit with status `code`."""
    stderr.print("[red]error[/]", end=" ")
    stderr.print(message, soft_wrap=True, markup=False)
    raise typer.Exit(code)
