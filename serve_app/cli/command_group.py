"""The group of the subcommands: an unexpected error is one line, not a traceback."""

import errno
import os
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from serve_app.cli.console import fail

DEBUG_VARIABLE = "MUSICGEN_DEBUG"
_OWN = (typer.Exit, typer.Abort, TyperException)


class CommandGroup(TyperGroup):
    """Group that reports any error of its commands in one line and exits with status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _OWN:
            raise
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE) or _is_closed_pipe(error):
                raise
            kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
            fail(f"{kind}{error} (set {DEBUG_VARIABLE}=1 to see where)")


def _is_closed_pipe(error: Exception) -> bool:
    """Whether the reader of the output went away; Typer ends the command for it."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE
