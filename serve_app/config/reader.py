"""The application's `args` as an AppConfig, with errors that name each option."""

import difflib
import os
import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from serve_app.config.app import AppConfig
from serve_app.config.pem import holds_pem
from serve_app.errors import ConfigError

_Path = tuple[int | str, ...]

# Sections of earlier versions, with their places now.
_MOVED: dict[_Path, str] = {("api", "provenance"): "provenance"}

# Options whose mistaken values may be secrets: their values are never quoted.
_SECRET = re.compile(r"(api_)?keys?(_|$)|private_key|certificate")
_PEM_HINT = (
    " PEM text belongs into a file, or into the environment variable MUSICGEN_C2PA_CERTIFICATE or "
    "MUSICGEN_C2PA_PRIVATE_KEY of the ingress."
)


def environment_variables(options: dict[str, Any] | None) -> dict[str, str]:
    """Return the variables that a `runtime_env` sets.

    options: of an application, or a deployment's ray_actor_options.
    """
    environment = (options or {}).get("runtime_env")
    variables = environment.get("env_vars") if isinstance(environment, dict) else None
    return dict(variables or {})


def ingress_environment(application: dict[str, Any], config: AppConfig) -> dict[str, str]:
    """Merge the variables of the ingress: the shell's, the application's, its deployment's.

    application: of the Serve configuration; config: its args.
    """
    options = config.ingress_deployment_config.ray_actor_options
    return dict(os.environ) | environment_variables(application) | environment_variables(options)


def read_config(args: Any) -> AppConfig:
    """Parse the args of the application. Raises ConfigError that names every invalid option."""
    try:
        return AppConfig.model_validate(args)
    except ValidationError as error:
        faults: list[dict[str, Any]] = [dict(fault) for fault in error.errors(include_url=False)]
    paths = [fault["loc"] for fault in faults]
    lines = [f"\n- {_describe(fault)}" for fault in faults if not _is_outer(fault["loc"], paths)]
    raise ConfigError(f"The application's args are not valid:{''.join(lines)}")


def _is_outer(path: _Path, paths: list[_Path]) -> bool:
    """Whether a fault within the section at `path` is reported too, so that this one follows from it."""
    return any(len(other) > len(path) > 0 and other[: len(path)] == path for other in paths)


def _describe(fault: dict[str, Any]) -> str:
    path: _Path = fault["loc"]
    if path in _MOVED:
        return f"{_dotted(path)}: this section has moved. Write it as args.{_MOVED[path]}."
    given = fault.get("input")
    if fault["type"] == "extra_forbidden":
        hint = _PEM_HINT if holds_pem(given) or holds_pem(path[-1]) else _suggestion(path)
        return f"{_dotted(path)}: unknown option.{hint}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    value = f", but it is {given!r}" if _is_quotable(path, given) else ""
    return f"{_dotted(path)}: {message}{value}" if path else message


def _is_quotable(path: _Path, given: Any) -> bool:
    is_secret = any(isinstance(part, str) and _SECRET.match(part) for part in path)
    return not (isinstance(given, dict | list) or is_secret or holds_pem(given))


def _dotted(path: _Path) -> str:
    """Format a path as people write it: `models[0].engine_kwargs`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _name(part: str) -> str:
    return "(PEM text)" if holds_pem(part) else part


def _suggestion(path: _Path) -> str:
    """Name the option of the section that is spelt most alike."""
    options = _section(path[:-1]).model_fields
    alike = difflib.get_close_matches(str(path[-1]), options, n=1)
    return f" Did you mean {alike[0]}?" if alike else f" This section has: {', '.join(options)}."


def _section(path: _Path) -> type[BaseModel]:
    """Find the class of a section: of a field, or of the entries of a list."""
    section: type[BaseModel] = AppConfig
    for name in (part for part in path if isinstance(part, str)):
        annotation = section.model_fields[name].annotation
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        section = next(kind for kind in kinds if issubclass(kind, BaseModel))
    return section
