"""All checks, in the order of a start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.config.app import AppConfig
from serve_app.config.files import NAMES_HINT
from serve_app.config.serve_file import ServeConfigError, read_serve_config
from serve_app.doctor.access import check_keys, check_signing, check_token
from serve_app.doctor.finding import Finding, ok, problem
from serve_app.doctor.gpu_software import check_gpu_software
from serve_app.doctor.gpus import check_gpus
from serve_app.doctor.machine_checks import (
    check_disk,
    check_encoders,
    check_memory,
    check_packages,
    check_python,
)
from serve_app.doctor.network import check_ports, check_weights

_SUBJECT = "configuration"


def examine(config: Path, port: int) -> Iterator[Finding]:
    """Yield the result of every check.

    config: Serve configuration that is to be served; port: HTTP port of the service.
    """
    yield check_python()
    yield check_packages()
    yield check_encoders()
    yield check_memory()
    content = _content(config)
    if isinstance(content, Finding):
        yield content
        return
    yield ok(_SUBJECT, str(config))
    yield from _examine_for(content, _args(content), config.stem, port)


def _examine_for(
    content: dict[str, Any], app: AppConfig, name: str, port: int
) -> Iterator[Finding]:
    yield check_disk(app)
    yield from check_gpus(app, name)
    yield from check_gpu_software(app)
    yield from check_ports(content, port)
    yield check_keys(app.api.access)
    yield check_signing(app.provenance)
    yield check_token()
    yield from check_weights(app)


def _content(config: Path) -> dict[str, Any] | Finding:
    """Read a Serve configuration with a valid application, or the problem of the file."""
    try:
        content = read_serve_config(config)
        _args(content)
    except ServeConfigError as error:
        return problem(_SUBJECT, str(error), f"Start from a copy of one. {NAMES_HINT}")
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"])) or "args"
        return problem(_SUBJECT, f"{config}: {option}: {first['msg']}", "Correct that option.")
    return content


def _args(content: dict[str, Any]) -> AppConfig:
    return AppConfig.model_validate(content["applications"][0].get("args"))
