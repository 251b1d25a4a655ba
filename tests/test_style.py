"""Limits of the code's style: short files and functions, one statement a line, plain docstrings."""

import ast
import math
from collections.abc import Iterator

import pytest

from tests.sources import (
    PACKAGE,
    Documented,
    functions,
    length,
    name_of,
    parsed,
    python_files,
)

FILE_LINES = 250
FUNCTION_LINES = 20  # of 95 % of all functions
TUPLE_ASSIGNMENTS = 5  # in 1,000 lines
UNCLEAR_OPENINGS = {"what", "who", "which", "whose", "of", "as", "so"}
UNCLEAR_SHARE = 0.01
VAGUE_NAMES = {"utils", "common", "core", "base", "helpers", "manager"}
PACKAGE_FILES = python_files("serve_app")
FOLDERS = ("serve_app", "tests", "tools", "benchmarks")


def docstrings(*folders: str) -> Iterator[tuple[str, str]]:
    """Where each docstring is, and the docstring."""
    for file in python_files(*folders):
        for node in ast.walk(parsed(file)):
            if isinstance(node, Documented) and (text := ast.get_docstring(node)):
                yield f"{name_of(file)}:{getattr(node, 'lineno', 1)}", text


def is_tuple_assignment(node: ast.AST) -> bool:
    """Whether the node is `a, b = x, y`: as many values as targets, each written out."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and any(
            isinstance(target, ast.Tuple) and len(target.elts) == len(node.value.elts)
            for target in node.targets
        )
    )


def test_names_of_files_say_what_is_in_them() -> None:
    names = {part for file in PACKAGE_FILES for part in file.relative_to(PACKAGE).parts}
    assert not {name.removesuffix(".py") for name in names} & VAGUE_NAMES


def test_files_are_short() -> None:
    lines = {name_of(file): len(file.read_text().splitlines()) for file in PACKAGE_FILES}
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}


def test_functions_are_short() -> None:
    lengths = sorted(
        (length(function), f"{name_of(file)}:{function.lineno} {function.name}")
        for file in PACKAGE_FILES
        for function in functions(file)
    )
    in_limit = math.ceil(0.95 * len(lengths))
    assert lengths[in_limit - 1][0] <= FUNCTION_LINES, lengths[in_limit - 1 :]


def test_one_statement_assigns_one_value() -> None:
    found = [
        f"{name_of(file)}:{node.lineno}"
        for file in PACKAGE_FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Assign) and is_tuple_assignment(node)
    ]
    lines = sum(len(file.read_text().splitlines()) for file in PACKAGE_FILES)
    assert len(found) <= TUPLE_ASSIGNMENTS * lines / 1000, found


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("a, b = 1, 2", True),
        ("c = a, b = 1, 2", True),
        ("a, b = f()", False),
        ("a, b = b, a", True),
        ("a = 1, 2", False),
        ("a = b = 1", False),
    ],
)
def test_tuple_assignments_are_told_from_unpacking(statement: str, expected: bool) -> None:
    assert is_tuple_assignment(ast.parse(statement).body[0]) is expected


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    places = dict(docstrings(*FOLDERS))
    unclear = {
        place: text.splitlines()[0]
        for place, text in places.items()
        if text.split()[0].strip(",:").lower() in UNCLEAR_OPENINGS
    }
    assert len(places) > 500, "the docstrings have been read"
    assert len(unclear) <= UNCLEAR_SHARE * len(places), unclear
