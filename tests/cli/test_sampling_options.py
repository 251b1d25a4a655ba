"""Options of the sampling parameters derive from the table."""

import inspect
from typing import Any, get_args

import pytest

from serve_app.cli.sampling_options import with_sampling_options
from serve_app.types import SamplingParams

SCHEMA = SamplingParams.model_json_schema()["properties"]


@with_sampling_options
def command(prompt: str = "", *, play: bool = False, **sampling: float | None) -> None:
    """A command with other parameters around the sampling."""


PARAMETERS = inspect.signature(command).parameters


def option(name: str) -> tuple[object, Any]:
    """Type of the parameter, and Typer's description of its option."""
    kind, described = get_args(PARAMETERS[name].annotation)
    return kind, described


def test_they_replace_the_commands_keywords() -> None:
    assert list(PARAMETERS) == ["prompt", "play", *SamplingParams.model_fields]
    assert all(PARAMETERS[name].default is None for name in SamplingParams.model_fields)


@pytest.mark.parametrize("name", sorted(SCHEMA.keys() - {"seed"}))
def test_they_have_the_bounds_and_the_default_of_the_table(name: str) -> None:
    kind, described = option(name)
    schema = SCHEMA[name]
    assert kind == ((int if schema["type"] == "integer" else float) | None)
    assert (described.min, described.max) == (schema["minimum"], schema["maximum"])
    default = f"The service's default: {schema['default']:g}."
    assert described.help == f"{schema['description']} {default}"


def test_a_seed_has_no_default() -> None:
    kind, described = option("seed")
    assert kind == (int | None)
    assert (described.min, described.max) == (0, 2**63 - 1)
    assert described.help == "The same seed makes the same track; drawn when absent."
