"""Errors of the application's args: each option by its path, with the nearest known one."""

import copy
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from serve_app.config.provenance import ProvenanceConfig
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
        "models[0].deployment_config.num_replicas: Input should be a whole number above 0, or auto, but it is 0",
        "api.max_body_bytes: Input should be a valid integer, unable to parse string as an integer, "
        "but it is 'x'",
    ]


def test_a_fault_of_the_whole_has_no_path(args: dict[str, Any]) -> None:
    args["default_model"] = "huge"
    [fault] = faults(args)
    assert fault.startswith("default_model 'huge' is not served: use one of [")


PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG/SECRET+BODY\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("text", [PEM, PEM.replace("\n", "\\n")], ids=["lines", "escaped"])
@pytest.mark.parametrize("option", ["certificate_file", "certificate_env", "private_key_file",
                                    "private_key_env", "private_key", "certificate", "algorithm",
                                    "timestamp_url", "required", "unknown"])  # fmt: skip
def test_pem_text_in_the_wrong_option_is_not_quoted(
    args: dict[str, Any], option: str, text: str
) -> None:
    args["provenance"] = {option: text}
    [fault] = faults(args)
    assert fault.startswith(f"provenance.{option}: ")
    assert "BEGIN" not in fault
    assert "SECRET" not in fault
    if option not in ("algorithm", "timestamp_url", "required"):
        assert "MUSICGEN_C2PA_" in fault


def test_pem_text_anywhere_is_not_quoted(args: dict[str, Any]) -> None:
    for provenance in (PEM, {PEM: "x"}, {"private_key_file": [PEM]}, {"watermark": {PEM: 1}}):
        args["provenance"] = provenance
        assert "SECRET" not in "".join(faults(args))


@pytest.mark.parametrize("option", ["private_key_env", "certificate_env"])
def test_a_key_without_its_frame_is_not_quoted(args: dict[str, Any], option: str) -> None:
    args["provenance"] = {option: "MIGHAgEAMBMG/SECRET+BODY"}
    [fault] = faults(args)
    assert fault.startswith(f"provenance.{option}: String should match pattern")
    assert "SECRET" not in fault


def test_api_keys_in_the_wrong_option_are_not_quoted(args: dict[str, Any]) -> None:
    args["api"]["access"]["keys_env"] = "me:SECRET-0123456789"
    [fault] = faults(args)
    assert "SECRET" not in fault


def test_an_error_of_a_section_alone_quotes_nothing() -> None:
    with pytest.raises(ValidationError) as caught:
        ProvenanceConfig(private_key_env=PEM)
    assert "SECRET" not in str(caught.value)


def test_a_file_and_a_variable_are_told_apart(args: dict[str, Any]) -> None:
    args["provenance"] = {"certificate_file": "a.pem"}
    [fault] = faults(args)
    assert "name both files, or neither, and put both PEM texts into the environment" in fault


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
