"""Values of a configuration: right types and ranges, and errors that name file, section and value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve_app.checkpoints.fields import Fields
from serve_app.errors import CheckpointError

VALUES: dict[str, Any] = {
    "size": 32,
    "text": "32",
    "float": 1.5,
    "flag": True,
    "null": None,
    "list": [4, 3],
    "mixed": [4, "3"],
    "long": "x" * 200,
}
FIELDS = Fields(Path("config.json"), "decoder", VALUES.get)


def test_values_of_the_right_type_are_returned() -> None:
    assert FIELDS.integer("size") == 32
    assert FIELDS.integer("absent", 7) == 7
    assert FIELDS.number("float", at_least=0, at_most=2) == 1.5
    assert isinstance(FIELDS.number("size", at_least=0, at_most=99), float)
    assert FIELDS.flag("flag") is True
    assert FIELDS.text("text") == "32"
    assert FIELDS.one_of("text", ("31", "32")) == "32"
    assert FIELDS.integers("list", at_most=4) == (4, 3)
    assert FIELDS.integers("absent", (1, 2), at_most=4) == (1, 2)
    FIELDS.require("size", 32)
    FIELDS.require("absent", 5, default=5)
    assert FIELDS.optional_text("absent") == ""
    FIELDS.require_divisor("heads", 4, "size", 32)


@pytest.mark.parametrize("name", ["text", "float", "flag", "list"])
def test_other_types_are_no_integers(name: str) -> None:
    with pytest.raises(
        CheckpointError, match=rf"config.json: decoder.{name} is .*, not an integer from 1 to "
    ):
        FIELDS.integer(name)


FAULTS: list[tuple[Callable[[], object], str]] = [
    (lambda: FIELDS.integer("size", at_most=31), "decoder.size is 32, not an integer from 1 to 31"),
    (lambda: FIELDS.integer("null"), "decoder.null is missing. Use the configuration"),
    (lambda: FIELDS.integer("long"), r"is 'x{76}\.\.\., not"),
    (lambda: FIELDS.number("text", at_least=0, at_most=1), "is '32', not a number from 0 to 1"),
    (lambda: FIELDS.number("flag", at_least=0, at_most=1), "is True, not a number"),
    (lambda: FIELDS.flag("size"), "is 32, not true or false"),
    (lambda: FIELDS.text("size"), "is 32, not a text"),
    (lambda: FIELDS.one_of("list", ("a", "b")), r"is \[4, 3\], not one of a, b"),
    (lambda: FIELDS.integers("mixed", at_most=9), r"is \[4, '3'\], not a list of integers"),
    (lambda: FIELDS.integers("size", at_most=9), "is 32, not a list of integers"),
    (lambda: FIELDS.require("size", 16), r"is 32, which is not supported \(only 16\)"),
    (lambda: FIELDS.require_divisor("heads", 5, "size", 32), r"does not divide size \(32\)"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_faults_name_the_value_and_what_it_should_be(
    fault: Callable[[], object], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        fault()
