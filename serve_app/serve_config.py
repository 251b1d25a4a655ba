"""Serve configurations as YAML, as `serve run` reads them."""

from pathlib import Path
from typing import Any

import yaml


class ServeConfigError(Exception):
    """Failure to read a Serve configuration. The message names the file."""


def read_serve_config(file: Path) -> dict[str, Any]:
    """Read a Serve configuration with at least one application. Raises ServeConfigError."""
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ServeConfigError(f"{file} is not a readable YAML file. See configs/.") from error
    if not isinstance(content, dict) or not _has_applications(content):
        raise ServeConfigError(f"{file} has no 'applications'. See the examples in configs/.")
    return content


def _has_applications(content: dict[str, Any]) -> bool:
    applications = content.get("applications")
    return (
        isinstance(applications, list)
        and bool(applications)
        and all(isinstance(application, dict) for application in applications)
    )
