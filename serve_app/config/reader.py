"""The application's `args` as an AppConfig, with errors that name each option."""

import difflib
import os
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from serve_app.config.app import AppConfig
from serve_app.errors import ConfigError

_Path = tuple[int | str, ...]

# Sections of earlier versions, with their places now.
_MOVED: dict[_Path, str] = {("api", "provenance"): "provenance"}


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
    if fault["type"] == "extra_forbidden":
        return f"{_dotted(path)}: unknown option.{_suggestion(path)}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    given = fault.get("input")
    value = "" if isinstance(given, dict | list) else f", but it is {given!r}"
    return f"{_dotted(path)}: {message}{value}" if path else message


def _dotted(path: _Path) -> str:
    """Format a path as people write it: `models[0].engine_kwargs`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


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
