"""Errors of other packages become errors that name the file, the reason and the cure."""

from pathlib import Path

import pytest

from serve_app.checkpoints.faults import faults_named, unreadable_named
from serve_app.errors import CheckpointError

FILE = Path("folder/config.json")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("name"), r"folder/config.json: unreadable \(KeyError: 'name'\). Save it again."),
        (Exception("two\n lines"), r"\(Exception: two lines\)"),
        (RuntimeError(), r"\(RuntimeError\)"),
        (ValueError("x" * 1000), r"\(ValueError: x{300}\)"),
    ],
)
def test_any_error_is_named(error: Exception, said: str) -> None:
    with (
        pytest.raises(CheckpointError, match=said) as caught,
        faults_named(FILE, "unreadable", "Save it again."),
    ):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(13, "Permission denied", "a/b"),
            r"a/b: cannot be read \(PermissionError: ",
        ),
        (OSError(), r"folder/config.json: cannot be read \(OSError\)"),
    ],
)
def test_errors_of_the_file_system_name_the_file(error: OSError, said: str) -> None:
    with pytest.raises(CheckpointError, match=said), unreadable_named(FILE):
        raise error


def test_errors_that_are_named_already_stay() -> None:
    named = CheckpointError("named")
    with (
        pytest.raises(CheckpointError, match=r"^named$"),
        faults_named(FILE, "unreadable", "Save it again."),
    ):
        raise named
