"""Options of the command for the fields of a generation, derived from the client's fields."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_type_hints

import typer
from pydantic.fields import FieldInfo

from serve_app.client import FileFields, GenerationFields

BY_FILE_NAME = "response_format"  # the name of the output file has it
_OLD_NAMES = {"cfg_coef": ("--cfg-coef",)}
_FIELD = re.compile(
    rf"\b({'|'.join(name for name in GenerationFields.__annotations__ if '_' in name)})\b"
)
_UNITS = ("_s", "_kbps", "_lufs", "_coef")


def with_generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the `**fields` of a command by one option for each field of a generation.

    Typer reads the options from `__signature__`. The command gets every field by name, as None
    where its option is absent.
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


def option_name(field: str) -> str:
    """Name of a field's option: without the unit, which its help tells."""
    for unit in _UNITS:
        field = field.removesuffix(unit)
    return f"--{field.replace('_', '-')}"


def with_option_names(text: str) -> str:
    """Replace the names of fields in a description by those of their options."""
    return _FIELD.sub(lambda name: option_name(name[0]), text)


def _options() -> Iterator[inspect.Parameter]:
    """Yield the parameters of all fields, those of the file last."""
    hints = get_type_hints(GenerationFields, include_extras=True)
    for name in sorted(hints.keys() - {BY_FILE_NAME}, key=_place):
        annotation = _option(name, hints[name])
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
        )


def _place(field: str) -> tuple[bool, int]:
    return field in FileFields.__annotations__, list(GenerationFields.__annotations__).index(field)


def _option(name: str, hint: Any) -> Any:
    """Type of the option, with the bounds and the description of its field."""
    kind, field = get_args(hint)
    option = typer.Option(
        option_name(name),
        *_OLD_NAMES.get(name, ()),
        help=with_option_names(field.description or ""),
        min=_bound(field, "ge"),
        max=_bound(field, "le"),
    )
    return Annotated[kind | None, option]


def _bound(field: FieldInfo, name: str) -> Any:
    bounds = (getattr(one, name) for one in field.metadata if hasattr(one, name))
    return next(bounds, None)
