"""The README names every option, error code, configuration and header; its commands exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from serve_app import config, errors
from serve_app.api.schemas.generation import GenerationBody
from serve_app.track_fields import HEADERS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
QUOTED = {
    part for quoted in re.findall(r"`([^`\n]+)`", README) for part in re.split(r"[.\s:]", quoted)
}


def options() -> Iterator[str]:
    for model in vars(config).values():
        if (
            isinstance(model, type)
            and issubclass(model, BaseModel)
            and model.__module__ == config.__name__
        ):
            yield from model.model_fields


def error_codes() -> Iterator[str]:
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.ServeAppError):
            yield error.code


@pytest.mark.parametrize("option", sorted(set(options())))
def test_every_option_is_documented(option: str) -> None:
    assert option in QUOTED


@pytest.mark.parametrize("code", sorted(set(error_codes())))
def test_every_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in README


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [
        e.code
        for e in vars(errors).values()
        if isinstance(e, type) and issubclass(e, errors.ServeAppError)
    ]
    assert len(codes) == len(set(codes))


def test_statuses_of_errors_are_as_documented() -> None:
    table = README.split("Errors of `/v1`")[1]
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE))
    assert len(documented) > 8
    by_code = {
        e.code: e
        for e in vars(errors).values()
        if isinstance(e, type) and issubclass(e, errors.ServeAppError)
    }
    assert {code: str(by_code[code].status) for code in documented} == documented


@pytest.mark.parametrize("name", sorted([*HEADERS, *GenerationBody.model_fields]))
def test_every_header_and_field_is_documented(name: str) -> None:
    assert name in QUOTED


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name
)
def test_every_configuration_is_documented(file: Path) -> None:
    assert f"(configs/{file.name})" in README


def test_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets
    assert {"demo", "serve", "test", "check", "fmt", "bench"} <= targets


def test_links_to_files_exist() -> None:
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def test_the_path_of_a_request_names_what_exists() -> None:
    section = README.split("## The path of a request")[1].split("##")[0]
    files = re.findall(r"^\d\. `([a-z_/]+\.py)`", section, re.MULTILINE)
    assert len(files) >= 4
    assert [file for file in files if not (ROOT / "serve_app" / file).exists()] == []
