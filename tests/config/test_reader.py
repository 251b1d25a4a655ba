"""Errors of the application's args: each option by its path, with the nearest known one."""

import copy
from typing import Any

import pytest
import yaml

from serve_app.config.reader import environment_variables, read_config
from serve_app.errors import ConfigError
from tests.conftest import CONFIGS


@pytest.fixture
def args() -> dict[str, Any]:
    args: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())["applications"][0]
    return copy.deepcopy(args["args"])


def faults(args: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(args)
    first, *lines = caught.value.message.splitlines()
    assert first == "The application's args are not valid:"
    assert "pydantic" not in caught.value.message
    assert caught.value.__cause__ is None
    return [line.removeprefix("- ") for line in lines]


def test_valid_args_are_read(args: dict[str, Any]) -> None:
    assert read_config(args).models[0].model_id == "nano"


def test_an_unknown_option_is_named_with_the_nearest_one(args: dict[str, Any]) -> None:
    args["models"][0]["engine_kwargs"]["max_slot"] = 3
    assert faults(args) == [
        "models[0].engine_kwargs.max_slot: unknown option. Did you mean max_slots?"
    ]


def test_an_option_like_no_other_gets_the_list_of_its_section(args: dict[str, Any]) -> None:
    args["api"]["access"]["zzz"] = 1
    [fault] = faults(args)
    assert fault.startswith(
        "api.access.zzz: unknown option. This section has: keys_env, keys_file,"
    )


def test_a_section_that_has_moved_is_told_with_its_place(args: dict[str, Any]) -> None:
    args["api"]["provenance"] = args.pop("provenance")
    assert faults(args) == ["api.provenance: this section has moved. Write it as args.provenance."]


def test_every_wrong_value_is_named(args: dict[str, Any]) -> None:
    args["api"]["max_body_bytes"] = "x"
    args["models"][0]["deployment_config"]["num_replicas"] = 0
    args["default_model"] = "huge"
    assert faults(args) == [
        "models[0].deployment_config.num_replicas: Input should be greater than 0, but it is 0",
        "api.max_body_bytes: Input should be a valid integer, unable to parse string as an integer, "
        "but it is 'x'",
    ]


def test_a_fault_of_the_whole_has_no_path(args: dict[str, Any]) -> None:
    args["default_model"] = "huge"
    [fault] = faults(args)
    assert fault.startswith("default_model 'huge' is not served: use one of [")


@pytest.mark.parametrize("args", [None, [], "x"])
def test_args_that_are_no_mapping_are_refused(args: Any) -> None:
    [fault] = faults(args)
    assert fault.startswith("Input should be a valid dictionary")


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (None, {}),
        ({}, {}),
        ({"runtime_env": None}, {}),
        ({"runtime_env": "s3://x"}, {}),
        ({"runtime_env": {"pip": []}}, {}),
        ({"runtime_env": {"env_vars": {"A": "b"}}}, {"A": "b"}),
    ],
)
def test_variables_of_a_runtime_env(options: Any, variables: dict[str, str]) -> None:
    assert environment_variables(options) == variables


def test_a_message_needs_a_watermark(args: dict[str, Any]) -> None:
    args["provenance"] = {"watermark": {"message": 7}}
    [fault] = faults(args)
    assert "message is 7, but without generator_file nothing is marked" in fault
    args["provenance"] = {"watermark": {"message": 65_536, "generator_file": "a"}}
    [fault] = faults(args)
    assert fault.startswith("provenance.watermark.message: Input should be less than or equal to")
