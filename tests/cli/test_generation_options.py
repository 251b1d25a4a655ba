"""Every field of a generation in the API's schema is an option of `musicgen generate`."""

import inspect
from typing import Any, Literal, get_args

import pytest

from serve_app.api.schemas.generation import Generation, GenerationBody
from serve_app.cli.generate import generate
from serve_app.cli.generation_options import option_name, with_generation_options, with_option_names

SCHEMA = Generation.model_json_schema()["properties"]
FIELDS = SCHEMA.keys() - {"prompt", "response_format"}
PARAMETERS = inspect.signature(generate).parameters
# Fields that have an option under another name, or that follow from other options.
OTHERWISE = {
    "audio_prompt": "begin",
    "melody": "melody",
    "n": "n",
    "prompt": "prompt",
    "response_format": "output",
    "audio_format": "output",
    "stream": "n",
    "stream_format": "n",
}


@with_generation_options
def command(prompt: str = "", *, play: bool = False, **fields: float | None) -> None:
    """A command with other parameters around the fields."""


def option(name: str) -> tuple[Any, Any]:
    """Type of the parameter, and Typer's description of its option."""
    kind, described = get_args(PARAMETERS[name].annotation)
    return kind, described


def test_they_replace_the_commands_keywords() -> None:
    parameters = inspect.signature(command).parameters
    assert list(parameters)[:2] == ["prompt", "play"]
    assert set(parameters) == {"prompt", "play"} | FIELDS
    assert all(parameters[name].default is None for name in FIELDS)


def test_every_field_of_the_schema_has_an_option() -> None:
    assert set(GenerationBody.model_fields) == FIELDS | OTHERWISE.keys()
    assert PARAMETERS.keys() >= FIELDS | set(OTHERWISE.values())


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_they_have_the_bounds_and_the_description_of_the_schema(name: str) -> None:
    kind, described = option(name)
    schema = SCHEMA[name]
    value = next((one for one in schema.get("anyOf", []) if one["type"] != "null"), schema)
    types = {"integer": int, "number": float, "string": str}
    if "enum" in value:
        assert kind == Literal[tuple(value["enum"])] | None
    else:
        assert kind == types[value["type"]] | None
    assert (described.min, described.max) == (value.get("minimum"), value.get("maximum"))
    assert described.help.startswith(with_option_names(schema["description"]))
    assert not [field for field in FIELDS if "_" in field and field in described.help]
    assert ("Default: " in described.help) is (schema.get("default") is not None)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("duration_s", "--duration"),
        ("cfg_coef", "--cfg"),
        ("top_k", "--top-k"),
        ("bitrate_kbps", "--bitrate"),
        ("loudness_lufs", "--loudness"),
        ("sample_rate", "--sample-rate"),
    ],
)
def test_names_have_no_unit(field: str, name: str) -> None:
    assert option_name(field) == name
    declared = option(field)[1]
    assert declared.default == name, "where Typer keeps the first name"


def test_help_names_options_instead_of_fields() -> None:
    text = "replaces top_k; within max_wait_s, to loudness_lufs; `auto`"
    expected = "replaces --top-k; within --max-wait, to --loudness; `auto`"
    assert with_option_names(text) == expected


def test_the_number_of_tracks_has_the_bounds_of_the_schema() -> None:
    declared = option("n")[1]
    schema = GenerationBody.model_json_schema()["properties"]["n"]
    assert (declared.min, declared.max) == (schema["minimum"], schema["maximum"])
