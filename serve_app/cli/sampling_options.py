"""Options of the sampling parameters, derived from the fields of `SamplingParams`."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from serve_app.types import SamplingParams

_TYPES: dict[str, type[int | float]] = {"integer": int, "number": float}


def with_sampling_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the `**sampling` of a command by one option for each sampling parameter.

    Typer reads the options from `__signature__`. The command gets every parameter by name, as
    None where its option is absent.
    """
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            parameters.extend(_options())
        else:
            parameters.append(parameter)
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def _options() -> Iterator[inspect.Parameter]:
    for name, schema in SamplingParams.model_json_schema()["properties"].items():
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, schema)
        )


def _option(name: str, schema: Mapping[str, Any]) -> Any:
    """Type of the option `--name`, with the bounds and the description of its JSON schema."""
    number = next(one for one in schema.get("anyOf", [schema]) if one["type"] in _TYPES)
    help_text = schema.get("description", number.get("description", ""))
    if "default" in schema and schema["default"] is not None:
        help_text = f"{help_text} The service's default: {schema['default']:g}."
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=help_text.strip(),
        min=number.get("minimum"),
        max=number.get("maximum"),
    )
    return Annotated[_TYPES[number["type"]] | None, option]
