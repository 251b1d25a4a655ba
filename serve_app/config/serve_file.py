"""Serve configurations as YAML, as `serve run` reads them."""

from pathlib import Path
from typing import Any

import yaml

from serve_app.config import serve_schema
from serve_app.config.files import NAMES_HINT


class ServeConfigError(Exception):
    """Failure to read a Serve configuration. The message names the file."""


def read_serve_config(file: Path) -> dict[str, Any]:
    """Read a Serve configuration with at least one application.

    Raises ServeConfigError, also for unknown options outside of `args`.
    """
    try:
        content: dict[str, Any] = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ServeConfigError(
            f"{file} is not a readable YAML file: {_reason(error)}. {NAMES_HINT}"
        ) from error
    if faults := serve_schema.faults(content):
        lines = "".join(f"\n- {fault}" for fault in faults)
        raise ServeConfigError(
            f"{file} is not a Serve configuration:{lines}\nSee the examples in configs/."
        )
    return content


def _reason(error: Exception) -> str:
    """Name the place of a fault in YAML, or the fault in reading the file."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return f"it is not text ({type(error).__name__})"
